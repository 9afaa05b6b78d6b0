"""The two loops of every tile: sums over taps, and in each tap over its depth, kept in registers.

::

    entry, ... -> taps:  pa, pb = start + the tables' offsets of tap t
                  depth:   sums = multiply_add(pa, pb, sums);  pa, pb move by their steps   (depth times)
                  taps.end: the next tap                                                    (taps times)
                  done
"""

from __future__ import annotations

from .emitter import I64, Emitter


def emit_tap_loops(e: Emitter, loops, starts, start, tables, steps, taps, depth, multiply_add) -> list:
    """Emit the loops and return the sums, with the builder behind them.

    Parameters
    ----------
    loops : block
        The head of the outer loop, to which the blocks of ``starts`` branch.
    starts : list of (block, list of vectors)
        The sums to begin with, by the block that control comes from.
    start, tables, steps : pairs
        Of the two operands: pointer, table of offsets by tap, step from one number of the depth to the next.
    multiply_add : callable
        ``(pa, pb, sums)`` -> the next sums.
    """
    builder = e.b
    depth_loop, taps_end, done = (
        builder.function.append_basic_block(n) for n in ("depth", "taps.end", "done")
    )

    builder.position_at_end(loops)
    t, outer = builder.phi(I64), [builder.phi(e.vector) for _ in starts[0][1]]
    for block, values in starts:
        for phi, value in zip([t, *outer], [I64(0), *values]):
            phi.add_incoming(value, block)
    a_tap, b_tap = (e.at(p, builder.load(builder.gep(table, [t]))) for p, table in zip(start, tables))
    builder.branch(depth_loop)

    builder.position_at_end(depth_loop)
    k, pa, pb = builder.phi(I64), builder.phi(a_tap.type), builder.phi(b_tap.type)
    inner = [builder.phi(e.vector) for _ in outer]
    for phi, value in zip([k, pa, pb, *inner], [I64(0), a_tap, b_tap, *outer]):
        phi.add_incoming(value, loops)
    sums = multiply_add(pa, pb, inner)
    k_next = builder.add(k, I64(1))
    for phi, value in zip([k, pa, pb, *inner], [k_next, e.at(pa, steps[0]), e.at(pb, steps[1]), *sums]):
        phi.add_incoming(value, depth_loop)
    builder.cbranch(builder.icmp_signed("<", k_next, depth), depth_loop, taps_end)

    builder.position_at_end(taps_end)
    t_next = builder.add(t, I64(1))
    for phi, value in zip([t, *outer], [t_next, *sums]):
        phi.add_incoming(value, taps_end)
    builder.cbranch(builder.icmp_signed("<", t_next, taps), loops, done)

    builder.position_at_end(done)
    return sums
