"""`lm-eval-codd dit convert X.ckpt DIR`: a checkpoint of the training code as a folder in safetensors."""

from __future__ import annotations

from pathlib import Path

from lm_eval_codd.files.outputs import check_folder
from lm_eval_codd.terminal.parser import Parser


def main(argv: list[str] | None = None) -> int:
    """Write the folder, and return the exit status.

    Raises:
        ValueError: one line: there is no such checkpoint, or it cannot be written there.
    """
    parser = Parser(
        prog="lm-eval-codd dit convert",
        description="Write a Lightning .ckpt of DUO, MDLM, SEDD, D3PM or AR as a folder that pretrained= reads: "
        "config.json and model.safetensors, with the averaged (EMA) weights. No code of the file is run.",
        epilog="example:\n  lm-eval-codd dit convert duo.ckpt duo",
    )
    parser.add_argument("source", metavar="X.ckpt", help="a checkpoint of the training code")
    parser.add_argument("target", metavar="DIR", help="the folder to write")
    parser.add_argument("--algo", help="duo, mdlm, sedd, d3pm or ar, where the file does not say it")
    parser.add_argument("--mask_id", type=int, help="of the mask token, where it is not the last id")
    parser.add_argument("--last", action="store_true", help="the last weights instead of the averaged ones")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.target)
    check_folder("DIR", folder)
    if (folder / "config.json").exists():
        raise ValueError(f"`DIR={folder}` already holds a checkpoint; give another folder")

    from lm_eval_codd.dit.lightning import SUFFIX, is_lightning, read_lightning
    from lm_eval_codd.dit.loading import check_weights
    from lm_eval_codd.dit.saving import save_dit

    if not is_lightning(arguments.source):
        raise ValueError(f"`{arguments.source}` is no file that ends in {SUFFIX}; folders need no conversion")
    checkpoint = read_lightning(arguments.source, not arguments.last, arguments.algo)
    config = checkpoint.config(arguments.algo, arguments.mask_id)
    check_weights(checkpoint.source, config, checkpoint.weights)
    fields = checkpoint.fields | {"algo": config.algo, "converted_from": checkpoint.identity}
    if arguments.mask_id is not None:
        fields["mask_token_id"] = arguments.mask_id
    save_dit(folder, fields, checkpoint.weights)
    kind = "last" if arguments.last else "averaged"
    print(
        f"wrote {folder}: {config.algo}, {len(checkpoint.weights)} tensors, the {kind} weights of {checkpoint.source}"
    )
    return 0
