"""How kernels are made: compilation, LLVM code, and the inner loops that are generated."""
