"""Every option that version 0.7 had, by command: it goes on working, shown or hidden."""

from __future__ import annotations

OPTIONS_0_7 = {
    "train gallery": (
        "--arch --batch --colour --cutout --data --device --dim --epochs --flip --json --license --loss --lr "
        "--margin --out --precision --root --rotate --scale --scenario --seed --shift --size --stem-stride "
        "--threads --unreadable --warmup-epochs --weight-decay --width --zoom "
    ).split(),
    "train query": (
        "--adaptation --adaptation-width --alignment --arch --batch --boundary --colour --cutout --data "
        "--device --epochs --flip --gallery --gallery-term --inherit --json --kd --license --loss --lr "
        "--margin --method --mixed --out --own --precision --regression --role --root --rotate --scale "
        "--scenario --seed --selection --selection-scale --selection-temperature --shift --stem-stride "
        "--temperature --threads --unreadable --unseen --warmup-epochs --weight-decay --width --zoom "
    ).split(),
    "train side-info": (
        "--arch --batch --colour --cutout --data --device --dim --epochs --flip --json --license --loss --lr "
        "--margin --method --mix-labels --mixing --optimiser --out --precision --projection --root --rotate "
        "--scale --scenario --seed --shift --size --stem-stride --temperature --threads --unreadable "
        "--warmup-epochs --weight-decay --width --zoom "
    ).split(),
    "train upgrade": (
        "--arc --batch --colour --cutout --data --device --epochs --flip --frozen-norm --hidden --json --l2 "
        "--license --loss --lr --margin --method --new --old --optimiser --out --precision --regression "
        "--root --rotate --scale --scenario --seed --shift --side-info --side-through --threads --through "
        "--unreadable --warmup-epochs --weight-decay --zoom "
    ).split(),
    "nas cmp": (
        "--batch --channel-warmup --crossovers --data --device --epochs --gallery --json --keep --license "
        "--lr --method --mixed --mmacs --mutation --mutations --no-static --operation-warmup --out --parents "
        "--population --precision --rank --reward --root --rounds --scenario --seed --space --static "
        "--static-width --stem-stride --strategy --supernet-epochs --supernet-lr --supernet-method --threads "
        "--unreadable --weight-decay --workers "
    ).split(),
    "nas global": (
        "--batch --colour --cutout --data --device --dim --drop --final-epochs --final-width --flip --gain "
        "--gallery --gradient-norm --held-out --json --kind --license --loss --lr --macro-epochs --margin "
        "--max-depth --max-width --method --micro-epochs --min-depth --min-width --mixed --mmacs --momentum "
        "--no-micro --objective --optimiser --out --precision --preset --random --ranking --regression --root "
        "--rotate --scale --scenario --seed --shift --size --stages --stem-stride --strikes --strikes-add-up "
        "--threads --unreadable --warmup-epochs --weight-decay --width-step --zoom "
    ).split(),
}
