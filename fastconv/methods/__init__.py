"""The methods of Tensor, a class per subject, and the functions ``fc.NAME`` that are made of them.

A method has the public signature, the documentation and the checks of its arguments. What it computes, with
the derivatives, is in ``ops``. ``tensor.py`` puts the classes together.
"""

from .arithmetic import ArithmeticMethods
from .autograd import AutogradMethods
from .convert import ConvertMethods
from .in_place import InPlaceMethods
from .matrix import MatrixMethods
from .parts import PartMethods
from .random_fill import RandomFillMethods
from .reduce import ReduceMethods
from .repeat import RepeatMethods
from .shape import ShapeMethods
from .sort import SortMethods
from .statistics import StatisticMethods
