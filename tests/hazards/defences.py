"""What keeps each hazard of docs/hazards.md off: the text that does it, and the tests that fail without it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defence:
    """One text of one file.

    Attributes:
        number: Of the hazard, a row of docs/hazards.md.
        name: What the text does.
        file: Where it is, from the top of the tree.
        text: The text itself, which its file has once.
        instead: What a tree without the defence has in its place.
        tests: Names of tests; every one of them fails without the text.
        signing: Whether they need the environment of ``make test-signing``.
    """

    number: int
    name: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]
    signing: bool = False


_SDK = "sdk/compat_sdk"
_TRAIN = "server_training/compat_train"


def _in(file: str, *tests: str) -> tuple[str, ...]:
    """Names of tests of one file, which stand here without ``test_``."""
    return tuple(f"tests/{file}::test_{test}" for test in tests)


_IMAGES = (
    Defence(
        1,
        "empty bytes are told apart",
        f"{_SDK}/images/decode.py",
        "    if not prefix:\n",
        "    if False:\n",
        _in("sdk/test_preprocess.py", "empty_bytes_are_called_empty"),
    ),
    Defence(
        1,
        "whatever a decoder raises is one typed error",
        f"{_SDK}/images/decode.py",
        "        raise ImageError(source, str(error) or type(error).__name__) from error\n",
        "        raise\n",
        _in(
            "sdk/test_preprocess.py",
            "a_truncated_file_is_refused",
            "damaged_bytes_give_pixels_or_an_image_error_and_nothing_else",
        ),
    ),
    Defence(
        2,
        "the limit of pixels",
        f"{_SDK}/images/decode.py",
        "(pixels := opened.width * opened.height) > _most_pixels",
        "(pixels := opened.width * opened.height) < 0",
        (
            *_in("sdk/test_preprocess.py", "a_decompression_bomb_is_refused_before_it_is_unpacked"),
            *_in("sdk/test_difficult_images.py", "the_limit_of_pixels_can_be_what_a_device_affords"),
        ),
    ),
    Defence(
        3,
        "formats by a list of those allowed",
        f"{_SDK}/images/decode.py",
        "    for name in (*FORMATS, *heif):\n",
        "    Image.init()\n    for name in Image.OPEN:\n",
        _in("sdk/test_preprocess.py", "a_format_outside_the_list_is_refused_although_pillow_can_read_it"),
    ),
    Defence(
        4,
        "pictures are turned as their EXIF says",
        f"{_SDK}/images/decode.py",
        "return image if method is None else image.transpose(method)",
        "return image",
        _in("sdk/test_preprocess.py", "an_image_is_turned_upright_by_its_exif_orientation"),
    ),
    Defence(
        4,
        "16 bits keep their upper 8",
        f"{_SDK}/images/decode.py",
        'if image.mode.startswith("I;16") or',
        "if False and",
        _in("sdk/test_preprocess.py", "sixteen_bit_images_keep_their_upper_eight_bits"),
    ),
    Defence(
        4,
        "transparency is laid on white",
        f"{_SDK}/images/decode.py",
        "if image.has_transparency_data:",
        "if False:",
        _in("sdk/test_preprocess.py", "transparency_is_laid_on_white"),
    ),
    Defence(
        4,
        "grey, palettes and CMYK become RGB",
        f"{_SDK}/images/decode.py",
        'return image if image.mode == "RGB" else image.convert("RGB")',
        "return image",
        _in(
            "sdk/test_preprocess.py",
            "grey_palette_and_bilevel_images_become_rgb",
            "a_cmyk_jpeg_keeps_its_colours",
        ),
    ),
    Defence(
        5,
        "of an animation nothing but the first frame is looked for",
        f"{_SDK}/images/decode.py",
        "        opened.load()\n",
        '        opened.seek(getattr(opened, "n_frames", 1) - 1)\n        opened.load()\n',
        _in("sdk/test_preprocess.py", "of_an_animation_the_first_frame_counts"),
    ),
    Defence(
        6,
        "one run at a time in a LiteRT interpreter",
        f"{_SDK}/engines/litert.py",
        "            with self._lock:\n                embeddings",
        "            if True:\n                embeddings",
        _in("sdk/engines/test_every_engine.py", "eight_threads_on_one_engine_give_the_bits_of_one"),
    ),
    Defence(
        6,
        "one search at a time in a usearch index",
        f"{_SDK}/index/approximate.py",
        "        with self._lock:\n",
        "        if True:\n",
        _in("sdk/test_index.py", "one_search_at_a_time_is_in_the_engine_however_many_threads_ask"),
    ),
    Defence(
        7,
        "arrays of images are of bytes",
        f"{_SDK}/images/decode.py",
        "if array.dtype != np.uint8 or not plain or array.size == 0:",
        "if not plain or array.size == 0:",
        _in("sdk/test_preprocess.py", "an_array_that_is_no_uint8_image_is_refused_with_what_was_expected"),
    ),
    Defence(
        7,
        "vectors reach an engine in one piece",
        f"{_SDK}/index/vectors.py",
        "    vectors = np.ascontiguousarray(vectors)\n",
        "",
        _in("sdk/test_index.py", "fortran_and_strided_arrays_give_the_same_answer"),
    ),
    Defence(
        7,
        "vectors are float32",
        f"{_SDK}/index/vectors.py",
        "    if vectors.dtype != np.float32:\n",
        "    if False:\n",
        _in("sdk/test_index.py", "other_types_and_shapes_are_refused"),
    ),
    Defence(
        8,
        "a filled-up batch is cut again",
        f"{_SDK}/engines/batches.py",
        "results.append(run(block)[:rows])",
        "results.append(run(block))",
        _in("sdk/engines/test_every_engine.py", "a_fixed_batch_leaves_no_trace_of_the_padding"),
    ),
    Defence(
        8,
        "an engine is not asked for a batch of none",
        f"{_SDK}/engines/batches.py",
        "or len(array) == 0:",
        "or False:",
        _in("sdk/engines/test_every_engine.py", "an_input_that_does_not_fit_is_refused_with_what_would"),
    ),
)

_BUNDLES = (
    Defence(
        9,
        "the digest of every file",
        f"{_SDK}/bundle/files.py",
        "if digest.hexdigest() == record.sha256:",
        "if True:",
        _in(
            "sdk/test_bundle.py",
            "a_flipped_byte_anywhere_is_refused",
            "damage_is_found_before_any_parser_sees_the_file",
        ),
    ),
    Defence(
        9,
        "the digest once more, of the bytes that a parser is given",
        f"{_SDK}/bundle/bundle.py",
        "if record_of(data) != record:",
        "if False:",
        (
            *_in("sdk/test_bundle.py", "a_file_that_changes_after_opening_is_refused"),
            *_in("sdk/engines/test_choice.py", "a_damaged_graph_is_refused_before_its_parser_sees_it"),
        ),
    ),
    Defence(
        9,
        "nothing stands around the entries of a zip",
        f"{_SDK}/bundle/archive.py",
        "if offset + size + _END.size != status.st_size or end != _end(count, size, offset):",
        "if False:",
        _in("sdk/test_bundle_zip.py", "anything_around_the_entries_is_refused"),
    ),
    Defence(
        10,
        "file names lead nowhere else",
        f"{_SDK}/bundle/names.py",
        'all(is_name(part) for part in name.split("/"))',
        "True",
        (
            *_in("sdk/test_bundle.py", "a_file_name_that_leaves_the_bundle_is_refused"),
            *_in("sdk/test_bundle_zip.py", "an_entry_name_that_is_not_plain_is_refused_and_named"),
        ),
    ),
    Defence(
        10,
        "links and special files in a folder are refused",
        f"{_SDK}/bundle/folder.py",
        "            else:\n                raise BundleError(f",
        "            elif entry.stat():\n                yield name, entry.stat().st_size\n            else:\n"
        "                raise BundleError(f",
        _in("sdk/test_bundle.py", "a_link_is_refused_even_to_the_right_content"),
    ),
    Defence(
        10,
        "links and special files in a zip are refused",
        f"{_SDK}/bundle/archive.py",
        "        or _type_problem(attributes >> 16)\n",
        "",
        _in("sdk/test_bundle_zip.py", "an_entry_that_is_no_plain_stored_file_is_refused"),
    ),
    Defence(
        10,
        "names that differ in case alone are refused",
        f"{_SDK}/bundle/names.py",
        "        if folded in files:\n",
        "        if False:\n",
        (
            *_in("sdk/test_bundle.py", "names_that_differ_only_in_case_are_refused"),
            *_in("sdk/test_bundle_zip.py", "a_name_that_comes_twice_is_refused_also_in_another_case"),
        ),
    ),
    Defence(
        10,
        "a zip stores its files as they are",
        f"{_SDK}/bundle/archive.py",
        'a bundle stores its files as they are" if method != 0 else None',
        'a bundle stores its files as they are" if method < 0 else None',
        _in("sdk/test_bundle_zip.py", "a_compression_bomb_is_refused_without_unpacking_it"),
    ),
    Defence(
        10,
        "a zip's two headers say the same",
        f"{_SDK}/bundle/archive.py",
        "if file.read(entry.start - begin) != entry.local():",
        "if False:",
        _in("sdk/test_bundle_zip.py", "an_entry_that_its_two_headers_describe_differently_is_refused"),
    ),
    Defence(
        10,
        "zip64 is refused",
        f"{_SDK}/bundle/archive.py",
        "if 0xFFFF in (count, size) or _SIZE_LIMIT in (size, offset):",
        "if False:",
        _in("sdk/test_bundle_zip.py", "a_header_that_lies_is_refused_in_little_memory"),
    ),
    Defence(
        10,
        "entries follow one another",
        f"{_SDK}/bundle/archive.py",
        'entries overlap or leave a gap" if offset != begin else None',
        'entries overlap or leave a gap" if False else None',
        _in("sdk/test_bundle_zip.py", "overlapping_entries_are_refused"),
    ),
    Defence(
        10,
        "a manifest of more than 4 MiB is not parsed",
        f"{_SDK}/bundle/files.py",
        "    if size > _DOCUMENT_LIMIT:\n",
        "    if False:\n",
        (
            *_in("sdk/test_bundle.py", "a_manifest_beyond_the_size_limit_is_not_parsed"),
            *_in("sdk/test_bundle_zip.py", "a_manifest_beyond_the_size_limit_is_not_parsed"),
        ),
    ),
    Defence(
        11,
        "onnxruntime finds no folder for outside weights",
        f"{_SDK}/engines/onnxruntime.py",
        '        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)\n',
        "",
        _in("sdk/test_engine.py", "weights_outside_the_graph_are_not_looked_for"),
    ),
    Defence(
        12,
        "pickles and archives are refused, listed or not",
        f"{_SDK}/bundle/files.py",
        "if _is_pickle(name, head, tail) or _is_archive(head, tail):",
        "if False:",
        (
            *_in("sdk/test_bundle.py", "a_pickle_is_refused_even_when_it_is_listed"),
            *_in("sdk/test_bundle_zip.py", "archives_and_pickles_inside_are_refused_even_when_listed"),
        ),
    ),
    Defence(
        12,
        "arrays are never unpickled",
        f"{_SDK}/arrays.py",
        "np.load(BytesIO(source), allow_pickle=False)",
        "np.load(BytesIO(source), allow_pickle=True)",
        _in("sdk/test_bundle.py", "a_golden_file_of_pickled_objects_is_refused"),
    ),
    Defence(
        13,
        "the version of a manifest",
        f"{_SDK}/bundle/manifest.py",
        "if type(version) is not int or version not in (2, VERSION):",
        "if False:",
        _in("sdk/test_bundle.py", "another_version_is_refused_before_the_rest_is_looked_at"),
    ),
    Defence(
        13,
        "the fields of a manifest, neither less nor more",
        f"{_SDK}/bundle/manifest.py",
        "        if set(rest) != expected:\n",
        "        if False:\n",
        _in("sdk/test_bundle.py", "every_missing_field_and_any_unknown_field_is_refused"),
    ),
    Defence(
        13,
        "the dimension of a query",
        f"{_SDK}/gallery/snapshot.py",
        "    return check_vectors(embeddings.vectors, dim)\n",
        "    return embeddings.vectors\n",
        _in("sdk/test_gallery.py", "a_wrong_dimension_within_one_space_is_refused"),
    ),
    Defence(
        14,
        "a signature must be there",
        f"{_SDK}/bundle/trust.py",
        "        if SIGNATURE not in files.sizes:\n",
        "        if False:\n",
        _in("sdk/test_bundle_signature.py", "a_bundle_without_a_signature_does_not_open_with_a_key"),
        signing=True,
    ),
    Defence(
        14,
        "a signature must hold",
        f"{_SDK}/bundle/signature.py",
        "                verifier.verify(folder, beside)\n",
        "",
        _in(
            "sdk/test_bundle_signature.py",
            "another_key_is_refused",
            "any_change_after_signing_is_refused",
            "the_signature_of_another_bundle_is_refused",
            "a_signature_that_is_none_is_refused",
        ),
        signing=True,
    ),
    Defence(
        14,
        "a bundle's last day",
        f"{_SDK}/bundle/trust.py",
        "if manifest.expires is not None and _today() > date.fromisoformat(manifest.expires):",
        "if False:",
        _in("sdk/test_trust.py", "a_bundle_is_refused_after_its_last_day"),
    ),
    Defence(
        14,
        "the least release that a trust file names",
        f"{_SDK}/bundle/trust.py",
        "            if found.release < least:\n",
        "            if False:\n",
        _in("sdk/test_trust.py", "an_older_release_than_the_trust_file_names_is_refused_though_its_signature_holds"),
        signing=True,
    ),
    Defence(
        14,
        "no older release takes a newer one's place",
        f"{_SDK}/bundle/publish.py",
        'if there.get("name") == name and new < old:',
        "if False:",
        _in("sdk/test_trust.py", "no_older_release_takes_the_place_of_a_newer_one"),
    ),
    Defence(
        15,
        "a folder takes another's place in one step",
        f"{_SDK}/bundle/folder.py",
        "    elif _exchange(temporary, target):\n",
        "    elif False:\n",
        _in("sdk/test_replace_bundle.py", "a_folder_is_replaced_in_one_step_on_linux"),
    ),
    Defence(
        15,
        "a bundle is read before it has its name",
        f"{_SDK}/bundle/publish.py",
        "            verify(temporary)\n            replace_folder(temporary, target)\n",
        "            replace_folder(temporary, target)\n",
        _in("sdk/test_bundle.py", "a_bundle_that_could_not_be_read_is_never_published"),
    ),
    Defence(
        15,
        "a failed second step puts the old folder back",
        f"{_SDK}/bundle/folder.py",
        "        aside.rename(target)\n",
        "",
        _in("sdk/test_replace_bundle.py", "a_failed_second_step_puts_the_old_folder_back"),
    ),
    Defence(
        15,
        "a zip is on the disk before it has its name",
        f"{_SDK}/bundle/publish.py",
        "                os.fsync(file.fileno())\n",
        "",
        _in("sdk/test_syncs.py", "a_bundle_is_on_the_disk_whole_before_it_has_its_name"),
    ),
)

_GALLERIES = (
    Defence(
        16,
        "rows that are not finite, zero or of another length are refused",
        f"{_SDK}/unit.py",
        "    if problems:\n",
        "    if False:\n",
        (
            *_in(
                "sdk/test_index.py",
                "bad_rows_are_named_before_any_engine_sees_them",
                "one_bad_number_in_a_row_is_enough",
            ),
            *_in("sdk/test_unit.py", "every_kind_of_bad_row_is_named_in_one_message"),
            *_in("sdk/test_gallery.py", "rows_spoilt_after_the_embeddings_were_made_are_refused"),
        ),
    ),
    Defence(
        16,
        "of equal rows the graph holds one",
        f"{_SDK}/index/approximate.py",
        "        equal = EqualRows.of(vectors)\n",
        "        equal = EqualRows(len(vectors), np.empty((0, 2), np.int64))\n",
        _in("sdk/test_equal_rows.py", "equal_rows_do_not_hide_the_others"),
    ),
    Defence(
        17,
        "k is a positive integer",
        f"{_SDK}/index/vectors.py",
        "    if isinstance(k, bool) or number < 1:\n",
        "    if False:\n",
        (
            *_in("sdk/test_index.py", "a_k_that_is_not_a_positive_integer_is_refused"),
            *_in("sdk/test_gallery.py", "a_k_that_is_not_a_positive_integer_is_refused"),
        ),
    ),
    Defence(
        17,
        "k beyond the rows gives all of them",
        f"{_SDK}/index/exact.py",
        "        k = min(check_k(k), len(self))\n",
        "        k = check_k(k)\n",
        _in("sdk/test_index.py", "more_hits_than_rows_gives_every_row_once"),
    ),
    Defence(
        17,
        "an empty index answers with nothing",
        f"{_SDK}/index/exact.py",
        "        if k == 0:\n",
        "        if k < 0:\n",
        _in("sdk/test_index.py", "an_empty_index_answers_with_no_hits"),
    ),
    Defence(
        17,
        "the dimension of a query to an index",
        f"{_SDK}/index/vectors.py",
        "(dim is not None and vectors.shape[1] != dim)",
        "False",
        _in("sdk/test_index.py", "a_query_of_another_dimension_is_refused"),
    ),
    Defence(
        18,
        "a state replaces another in one step",
        f"{_SDK}/gallery/store.py",
        "            successor.replace(folder / STATE_FILE)\n",
        "            with (folder / STATE_FILE).open('wb', buffering=0) as file:\n"
        "                for number in successor.read_bytes():\n"
        "                    file.write(bytes([number]))\n",
        _in("sdk/test_gallery.py", "a_writer_killed_at_any_moment_leaves_the_old_or_the_new_state"),
    ),
    Defence(
        18,
        "an atomic write is one rename",
        f"{_SDK}/files.py",
        "        temporary.replace(target)\n    sync_folder(target.parent)\n",
        "        target.write_bytes(data)\n    sync_folder(target.parent)\n",
        _in("sdk/test_files.py", "a_write_that_fails_leaves_the_old_file_and_no_other"),
    ),
    Defence(
        18,
        "rows are on the disk before the state names them",
        f"{_SDK}/gallery/files.py",
        "            os.fsync(file.fileno())\n",
        "",
        _in("sdk/test_syncs.py", "every_file_of_a_gallery_is_on_the_disk_before_the_state_that_names_it"),
    ),
    Defence(
        19,
        "a full disk and a folder without permission are an error that says so",
        f"{_SDK}/gallery/writer.py",
        "            if isinstance(error, OSError):\n",
        "            if False:\n",
        _in("sdk/test_gallery.py", "a_full_disk_is_an_error_and_loses_nothing"),
    ),
    Defence(
        19,
        "what the system refuses is no damage",
        f"{_SDK}/files.py",
        "    if error.errno not in _OF_THE_FILE:\n",
        "    if False:\n",
        _in(
            "sdk/test_gallery_rot.py",
            "too_many_open_files_are_no_damage_and_can_be_merged",
            "what_the_system_refuses_is_named_as_that",
        ),
    ),
    Defence(
        20,
        "the write lock",
        f"{_SDK}/files.py",
        "            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        _in("sdk/test_gallery.py", "a_second_writer_fails_cleanly_and_succeeds_later"),
    ),
    Defence(
        21,
        "a reader holds the files that it opened",
        f"{_SDK}/gallery/snapshot.py",
        "            parts.append(part)\n    snapshot = Snapshot(folder, state, tuple(parts) if held else stored)\n",
        "            parts.append(part)\n    snapshot = Snapshot(folder, state, stored)\n",
        _in("sdk/test_gallery.py", "a_reader_keeps_the_state_that_it_opened"),
    ),
    Defence(
        21,
        "an opening that a writer overtakes starts again",
        f"{_SDK}/gallery/snapshot.py",
        "            if read_state_bytes(folder) == data:\n                raise\n            continue\n",
        "            raise\n",
        _in("sdk/test_gallery.py", "readers_that_open_while_a_writer_works_see_whole_states"),
    ),
    Defence(
        22,
        "an index over other vectors, or of another metric, is refused",
        f"{_SDK}/index/approximate.py",
        "        if wrong:\n",
        "        if False:\n",
        (
            *_in("sdk/test_index.py", "a_graph_over_other_vectors_is_refused"),
            *_in("sdk/test_gallery.py", "an_index_over_other_rows_is_found_out"),
        ),
    ),
    Defence(
        22,
        "a stale index is not used",
        f"{_SDK}/gallery/store.py",
        "return self.index is not None and self.index.content == self.content",
        "return self.index is not None",
        _in("sdk/test_gallery.py", "exact_and_indexed_search_agree_and_a_stale_index_is_not_used"),
    ),
    Defence(
        22,
        "an index of another kind is refused",
        f"{_SDK}/gallery/snapshot.py",
        '        if record.kind != "usearch":\n',
        "        if False:\n",
        _in("sdk/test_gallery.py", "an_index_of_another_kind_is_not_read_and_can_be_rebuilt"),
    ),
    Defence(
        23,
        "verify compares what an index finds with the exact search",
        f"{_SDK}/gallery/snapshot.py",
        "        if recall < _LOWEST_RECALL:\n",
        "        if False:\n",
        _in("sdk/test_gallery.py", "an_index_over_other_rows_is_found_out"),
    ),
    Defence(
        23,
        "an index is compared with its digest before it is read",
        f"{_SDK}/gallery/files.py",
        "    if found != file.sha256:\n",
        "    if False:\n",
        _in("sdk/test_gallery.py", "a_damaged_index_never_reaches_its_reader_and_can_be_repaired"),
    ),
)

DEFENCES = (*_IMAGES, *_BUNDLES, *_GALLERIES)
"""In the order of their hazards."""
