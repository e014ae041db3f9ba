"""Print the golden hashes of a built kernel module, without torch: `load_module.py PATH NAME`."""

import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader

path, name = sys.argv[1:]
spec = spec_from_loader(name, ExtensionFileLoader(name, path))
assert spec is not None
module = module_from_spec(spec)
spec.loader.exec_module(module)
for operation, value in module.golden_hashes().items():
    sys.stdout.write(f"{operation} {value:016x}\n")
