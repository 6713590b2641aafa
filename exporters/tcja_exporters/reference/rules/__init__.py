"""The rules: how the error bound of an operation's result follows from those of its arguments, by kinds of operations.

    products          sums of products: convolutions, matrix products, attention
    reductions        sums, means, average pooling, products, vector norms, interpolation
    selections        maxima, maximum pooling, order statistics, clips, where, comparisons
    normalizations    softmax, layer norm, group norm, instance norm, var, std
    functions         exp, log, pow, sqrt, erf, sigmoid, GELU and other functions of each element
    elementwise       arithmetic of each element, batch norm, the quantiser

`RULES` has the rules of results that are numbers, by the names of the operations in PyTorch (aten). `SECOND` has those
of the second results, and `TRUTHS` those of truth values.
"""

from __future__ import annotations

from collections.abc import Callable

from tcja_exporters.reference.bounds import Bound, Bounds, Operation
from tcja_exporters.reference.rules import elementwise, normalizations, products, reductions
from tcja_exporters.reference.rules.functions import FUNCTIONS
from tcja_exporters.reference.rules.selections import SELECTIONS, TRUTHS

__all__ = ["RULES", "SECOND", "TRUTHS", "Rule"]

Rule = Callable[[Bounds, Operation], Bound]
"""A function that returns the bound of an operation's first result, given the bounds known so far and the operation."""

RULES: dict[str, Rule] = {
    **FUNCTIONS,
    **SELECTIONS,
    "convolution": products.bound_convolution,
    "mm": products.bound_product,
    "bmm": products.bound_product,
    "mv": products.bound_vectors,
    "dot": products.bound_vectors,
    "addmm": products.bound_product_and_bias,
    "baddbmm": products.bound_product_and_bias,
    "avg_pool2d": reductions.bound_average_pool,
    "avg_pool3d": reductions.bound_average_pool,
    "_adaptive_avg_pool2d": reductions.bound_adaptive_pool,
    "_adaptive_avg_pool3d": reductions.bound_adaptive_pool,
    "mean": reductions.bound_mean,
    "sum": reductions.bound_sum,
    "cumsum": reductions.bound_cumulated_sum,
    "prod": reductions.bound_multiple,
    "linalg_vector_norm": reductions.bound_vector_norm,
    "_weight_norm_interface": reductions.bound_weight_norm,
    "col2im": reductions.bound_fold,
    "upsample_linear1d": reductions.bound_interpolation,
    "upsample_bilinear2d": reductions.bound_interpolation,
    "upsample_trilinear3d": reductions.bound_interpolation,
    "_softmax": normalizations.bound_softmax,
    "_safe_softmax": normalizations.bound_softmax,
    "_log_softmax": normalizations.bound_log_softmax,
    "logsumexp": normalizations.bound_log_sum_exp,
    "native_layer_norm": normalizations.bound_layer_norm,
    "native_group_norm": normalizations.bound_group_norm,
    "var": normalizations.bound_variance,
    "std": normalizations.bound_deviation,
    "var_mean": normalizations.bound_variance,
    "std_mean": normalizations.bound_deviation,
    "native_batch_norm": elementwise.bound_batch_norm,
    "_native_batch_norm_legit_no_training": elementwise.bound_batch_norm,
    "add": elementwise.bound_addition,
    "sub": elementwise.bound_addition,
    "rsub": elementwise.bound_addition,
    "mul": elementwise.bound_multiplication,
    "div": elementwise.bound_division,
    "glu": elementwise.bound_gated_unit,
    "reciprocal": elementwise.bound_reciprocal,
    "neg": elementwise.keep_bound,
    "abs": elementwise.keep_bound,
    "relu": elementwise.keep_bound,
    "quantized": elementwise.bound_quantizer,
}

SECOND: dict[str, Rule] = dict.fromkeys(("var_mean", "std_mean"), reductions.bound_mean)
"""The rules of the second results of operations."""
