"""A compiler whose kernels run their own copies of the functions that they call.

Numba links the functions that a kernel calls into the kernel's module, as weak symbols. When a process loads
a module, it keeps the first definition of a weak symbol that it has met: this may be the copy in another
kernel, which LLVM has optimised differently. Then the last bits of a result depend on which kernels this
process has compiled or loaded before. Internal symbols are not shared, so every kernel keeps its own copy.
"""

from __future__ import annotations

from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import AnnotateTypes


class _Library(JITCodeLibrary):
    """The module of one kernel, with what it calls."""

    def _optimize_final_module(self):
        for function in self._final_module.functions:
            if function.linkage in (Linkage.linkonce_odr, Linkage.weak_odr):
                function.linkage = Linkage.internal
        super()._optimize_final_module()


@register_pass(mutates_CFG=False, analysis_only=True)
class _MakeLibrary(AnalysisPass):
    """Make the library that Numba's next pass would make, of the class above."""

    _name = "fastconv_library"

    def __init__(self):
        super().__init__()

    def run_pass(self, state):
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()  # so that it can be stored on disk
        return False


class NoAlias(CompilerBase):
    """Numba's pipeline, for a function that writes to no array that overlaps another argument."""

    def define_pipelines(self):
        """The passes in order."""
        self.state.flags.noalias = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]


class Compiler(CompilerBase):
    """Numba's pipeline of passes with that library."""

    def define_pipelines(self):
        """The passes in order."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_MakeLibrary, AnnotateTypes)
        passes.finalize()
        return [passes]
