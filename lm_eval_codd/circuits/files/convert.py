"""`lm-eval-codd convert-circuit IN OUT`: circuits between PyJuice's .jpc and .safetensors."""

from __future__ import annotations

import time
from pathlib import Path

from lm_eval_codd.files.outputs import check_file
from lm_eval_codd.terminal.parser import Parser


def main(argv: list[str] | None = None) -> int:
    """Read a circuit from anywhere `load_circuit` reads, write it in the format of OUT's suffix; the exit status.

    Raises:
        ValueError: one line: there is no circuit, or it cannot be written there.
    """
    parser = Parser(
        prog="lm-eval-codd convert-circuit",
        description="Convert a circuit between PyJuice's .jpc and .safetensors, and say what it holds.",
        epilog="example:\n  lm-eval-codd convert-circuit il18/llada-math-pc circuits/math.safetensors",
    )
    parser.add_argument("source", metavar="IN", help="a .jpc or .safetensors file, a folder, or a hub id")
    parser.add_argument("target", metavar="OUT", help="a file that ends in .jpc or .safetensors, overwritten")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    arguments = parser.parse_args(argv)
    target = Path(arguments.target)
    if target.suffix not in (".jpc", ".safetensors"):
        raise ValueError(f"`OUT={target}` must end in .jpc (PyJuice) or .safetensors")

    from lm_eval_codd.circuits.files import load_circuit, save_circuit

    started = time.perf_counter()
    try:
        check_file("OUT", target)
        if target.exists() and Path(arguments.source).exists() and target.samefile(arguments.source):
            raise ValueError(f"`OUT={target}` is IN itself; give another file")
        circuit = load_circuit(arguments.source, revision=arguments.revision)
        print(
            f"read {circuit.source}: {circuit.num_positions} positions, {circuit.num_latents} latents, "
            f"{circuit.vocab_size} tokens, {circuit.identity}"
        )
        save_circuit(circuit, target)
    except OSError as error:
        raise ValueError(str(error)) from None
    print(f"wrote {target}: {target.stat().st_size:,} bytes in {time.perf_counter() - started:.1f} s")
    return 0
