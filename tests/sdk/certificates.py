"""A certificate of two spaces, with figures that an evaluation could have."""

from __future__ import annotations

from compat_sdk.certificate import Accuracy, Certificate


def certificate(query: str, gallery: str) -> Certificate:
    return Certificate(
        query_space=query,
        gallery_space=gallery,
        data="sample",
        data_sha256="cd" * 32,
        splits=("query", "gallery"),
        queries=990,
        skipped=10,
        gallery_size=5000,
        query_query=Accuracy(0.7, 0.8, 0.9, 0.6),
        query_gallery=Accuracy(0.75, 0.85, 0.95, 0.65),
        gallery_gallery=Accuracy(0.8, 0.9, 0.97, 0.7),
        created_by="compat-sdk 0.8.0",
    )
