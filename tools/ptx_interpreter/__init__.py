"""An interpreter of PTX: one NumPy operation per instruction, over all threads of a launch.

::

    launch.py        control flow, registers; runs a launch
    memory.py        loads and stores          warp.py     copies and tensor cores
    hopper.py        barriers, tensor maps and warpgroups (compute capability 9.0a)
    arithmetic.py    instructions that only compute
    program.py       reads the text

``tools/ptx_machine.py`` puts it in place of a GPU.
"""
