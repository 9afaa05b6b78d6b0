"""Winograd convolution: fewer multiplications for kernels of 3x3 to 5x5 (Lavin and Gray, arXiv:1509.09308).

An output tile of m x m needs (m + r - 1)^2 products per pair of channels instead of m^2 r^2 for r x r
weights. With r = 3 these are 16 instead of 36 for m = 2, 36 instead of 144 for m = 4 and 48 instead of 216
for tiles of 4 x 6; with r = 5 and m = 4 they are 64 instead of 400. For every tile of the image::

    V = B^t d B   (input tile d)      U = G g G^t   (filter g)      Y = A^t [sum over channels U * V] A

The sum over channels is, for each point p of the transformed tile, a matrix product
(tiles x C) * (C x K).

Larger kernels of stride 2 become kernels of stride 1 first (see ``space_to_depth.py``). Stride 2 of a 3x3
kernel is two convolutions of stride 1 per dimension: one of the even pixels with taps 0 and 2, one of the odd
pixels with tap 1. The first is Winograd's with m + 1 points, the second stays as it is and takes m::

      pixels   0 1 2 3 4 5 6 7 8        points  e0 e1 e2 e3 e4   from pixels 0 2 4 6 8  by B^t of F(4, 2)
      taps     0 1 2                            o0 o1 o2 o3      pixels 1 3 5 7 themselves
                   0 1 2                outputs A^t (e * u) + o * w[1]

So a 4 x 4 tile of outputs takes 9^2 = 81 products instead of 144. The four odd points have one filter in
common, which leaves 6^2 matrices of filters. Backward-data of stride 2 is the same for the even and odd
pixels of its output.

    transforms.py   the matrices, and how tiles cover an image
    orders.py       which order of the loops a pass takes
    plan.py         what else the geometry of a pass decides: sizes of scratch, records; forward_plan.py and
                    gradient_plan.py for the two kinds of passes
    filters.py      filters from weights, forward and backward-data
    tiles.py        what the kernels of all passes do with tiles: tables of addresses, transforms
    forward.py      forward and backward-data
    gradient.py     backward-weight
"""
