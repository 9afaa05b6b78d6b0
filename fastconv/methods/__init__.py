"""The methods of Tensor, in one class per subject.

A method has the public signature, the documentation and some checks of its arguments. The computation and
the derivatives are in ``fastconv/ops``. ``fastconv/tensor.py`` combines the classes, and
``fastconv/functions`` makes the functions ``fc.NAME`` of the methods.
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
