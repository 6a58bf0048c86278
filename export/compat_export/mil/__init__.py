"""A saved Core ML package, read and run on any machine.

Apple's own engine exists on macOS and iOS only, and its converter cannot run what it wrote anywhere else. This
package reads the saved files, not the converter's memory, and computes the program with torch's CPU kernels; so
an export can be compared with PyTorch before it reaches a device:

    from compat_export.mil import Package, Program

    program = Program(Package.open("model.mlpackage"))
    print(program.inputs, program.outputs)
    embedding = program.run(image=images)["embedding"]  # float32 arrays in, float32 arrays out

| module | holds |
|---|---|
| `package` | the files of a package, from a folder or from memory, and its parsed model |
| `blobs`, `values` | tensors out of ``weight.bin`` and out of the model file, with every offset and size checked |
| `operations`, `shapes`, `constants` | one plain function for each operation, and the table that names them |
| `program` | runs a program's main function |
| `engine` | `CoreMLTwin`: the same as an engine, for `compat_export.check.parity` |
| `quiet` | imports coremltools without what it says about itself |

What is computed: ML programs (iOS 15 and later) of one function without control flow. Float tensors are held in
float32; a value that the program declares as float16 is rounded to float16 when its operation ends. Apple's
engines differ from that in the order of sums and in what they keep between fused operations, so this is a check
of the file (weights, wiring, parameters), not a promise of a device's last bits.

Two errors: `BundleError` when the package is damaged, incomplete or does not fit its input, and
`CheckFailedError` when it holds an operation or an option that is not computed here; both name the place.
"""

from __future__ import annotations

from compat_export.mil.engine import CoreMLTwin
from compat_export.mil.package import Package
from compat_export.mil.program import Program

__all__ = ["CoreMLTwin", "Package", "Program"]
