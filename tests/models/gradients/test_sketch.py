"""The sketch against a dense matrix built from its documentation in plain Python, and its statistics."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from duelist.errors import DataError
from duelist.models.gradients.lora_gradients import LoraGradients
from duelist.models.gradients.sketch import SparseSketch
from tiny_models import documented_sketch, random_sequences, tiny_model, with_lora

CPU = torch.device("cpu")


def project(sketch: SparseSketch, sizes: list[int], vectors_RP: np.ndarray) -> np.ndarray:
    vectors = torch.from_numpy(vectors_RP)
    accumulator = sketch.accumulator(len(vectors), vectors.dtype, CPU)
    for block, part in enumerate(vectors.split(sizes, dim=1)):
        sketch.add_(accumulator, block, part.clone())
    return sketch.finish(accumulator).numpy()


def inner_product_errors(vectors_RP: np.ndarray, sizes: list[int], dimension: int, seeds: int) -> np.ndarray:
    """(sketched − exact) inner product over |a||b|, for every pair of rows and every seed."""
    unit = vectors_RP / np.linalg.norm(vectors_RP, axis=1, keepdims=True)
    upper = np.triu_indices(len(unit), 1)
    exact = (unit @ unit.T)[upper]
    errors = []
    for seed in range(seeds):
        s = project(SparseSketch(sizes, dimension, seed), sizes, unit)
        errors.append((s @ s.T)[upper] - exact)
    return np.array(errors)


@pytest.mark.parametrize(
    ("sizes", "dimension"),
    [([5, 130, 64, 1], 16), ([7, 90, 300], 97), ([40, 3], 1), ([64, 128, 11], 2), ([6, 70, 3], 79), ([6, 70, 3], 100)],
)
def test_equals_a_dense_matrix_built_from_the_documentation(sizes: list[int], dimension: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, sum(sizes)))
    matrix_PD = documented_sketch(sizes, dimension, seed=5)
    found = project(SparseSketch(sizes, dimension, 5), sizes, vectors)
    np.testing.assert_allclose(found, vectors @ matrix_PD, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dimension", [None, 79, 200])
def test_is_an_isometry_where_nothing_must_be_folded(dimension: int | None) -> None:
    sizes = [6, 70, 3]
    vectors = np.random.default_rng(0).normal(size=(5, 79))
    found = project(SparseSketch(sizes, dimension, 1), sizes, vectors)
    assert found.shape == (5, dimension or 79)
    np.testing.assert_allclose(found @ found.T, vectors @ vectors.T, rtol=1e-12)
    if dimension is None:
        np.testing.assert_array_equal(found, vectors)


def test_rows_may_be_added_in_parts_and_types_are_kept() -> None:
    sizes = [50, 30]
    vectors = np.random.default_rng(0).normal(size=(4, 80))
    whole = project(SparseSketch(sizes, 16, 0), sizes, vectors)
    np.testing.assert_array_equal(project(SparseSketch(sizes, 16, 0), sizes, vectors[1:3]), whole[1:3])
    single = project(SparseSketch(sizes, 16, 0), sizes, vectors.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, whole, atol=1e-5)


def test_is_the_same_in_every_process_and_differs_by_seed() -> None:
    sizes, code = (
        [50, 30],
        (
            "import json, torch\n"
            "from duelist.models.gradients.sketch import SparseSketch\n"
            "s = SparseSketch([50, 30], 16, 3)\n"
            "a = s.accumulator(1, torch.float64, torch.device('cpu'))\n"
            "v = torch.arange(80.0, dtype=torch.float64)[None]\n"
            "for k, part in enumerate(v.split([50, 30], 1)): s.add_(a, k, part.clone())\n"
            "print(json.dumps(s.finish(a).tolist()))"
        ),
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    vector = np.arange(80.0)[None]
    here = project(SparseSketch(sizes, 16, 3), sizes, vector)
    np.testing.assert_array_equal(here, json.loads(other))
    assert not np.array_equal(here, project(SparseSketch(sizes, 16, 4), sizes, vector))


def test_inner_products_are_unbiased() -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 300)) + 0.5
    errors = inner_product_errors(vectors, [100, 200], 32, seeds=2000)
    assert np.all(np.abs(errors.mean(axis=0)) <= 4 * errors.std(axis=0) / np.sqrt(len(errors)))


@pytest.mark.parametrize("dimension", [1024, 8192])
def test_error_of_inner_products_is_that_of_a_dense_projection(dimension: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(24, 60_000)).astype(np.float32)
    errors = inner_product_errors(vectors, [20_000, 4_000, 36_000], dimension, seeds=4)
    assert np.sqrt(np.mean(errors**2)) <= 1.1 / np.sqrt(dimension)


@pytest.mark.parametrize("dimension", [1024, 8192])
def test_error_on_gradients_of_a_model(dimension: int) -> None:
    # A power-of-two width: the shape in which folding at D itself would let a column of a matrix meet itself.
    shape = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.2}
    model = with_lora(tiny_model("llama", torch.float32, **shape), r=16)
    engine = LoraGradients(model, dimension=None, seed=0, max_tokens=1000)
    _, gradient_RD = engine(random_sequences(16))
    sizes = [dict(model.named_parameters())[name].numel() for name in engine.parameter_names]
    assert sum(sizes) > 2 * dimension
    errors = inner_product_errors(gradient_RD, sizes, dimension, seeds=8)
    assert np.sqrt(np.mean(errors**2)) <= 1.1 / np.sqrt(dimension)


def test_heavy_columns_do_not_meet() -> None:
    # The energy sits in one column of a 512-wide matrix, the same in each of six layers.
    vectors = np.random.default_rng(0).normal(size=(24, 6, 128, 512)).astype(np.float32)
    vectors[..., 37] *= 100
    sizes = [128 * 512] * 6
    errors = inner_product_errors(vectors.reshape(24, -1), sizes, 1024, seeds=4)
    assert np.sqrt(np.mean(errors**2)) <= 1.1 / np.sqrt(1024)


def test_a_dimension_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1"):
        SparseSketch([3], 0, 0)
