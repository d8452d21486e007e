import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.radiomics.nested.chains import chains_of


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 8), shells=st.booleans(), seed=st.integers(0, 2**31))
def test_chains_hold_every_region_once_and_each_the_one_before(n, shells, seed):
    """Chains part the regions; along a chain each holds the one before, and ranks say so voxel for voxel."""
    rng = np.random.default_rng(seed)
    field = rng.random((6, 7, 8))
    masks = np.array([field < level for level in np.sort(rng.uniform(0.05, 1, n))])
    masks = masks[masks.any(axis=(1, 2, 3))]
    if shells and len(masks) > 1:
        rings = masks[1:] & ~masks[0]
        masks = np.concatenate([masks, rings[rings.any(axis=(1, 2, 3))]])
    masks = masks[rng.permutation(len(masks))]
    if not len(masks):
        return
    chains = chains_of(masks, 2)
    assert sorted(m for chain in chains for m in chain.members) == list(range(len(masks)))
    assert len(chains) <= (2 if shells else 1)
    for chain in chains:
        for place, member in enumerate(chain.members):
            assert chain.counts[place] == np.count_nonzero(masks[member])
            values = chain.values(masks[member])
            assert np.array_equal(values, chain.own <= place)


def test_fewest_chains():
    """Grown regions and shells of one nodule, in any order, are two chains, not more."""
    distance = np.abs(np.arange(40) - 20)[None, None, :] * np.ones((3, 3, 1))
    grown = [distance <= r for r in (2, 4, 6, 8, 10)]
    shells = [mask & ~grown[0] for mask in grown[1:]]
    masks = np.array([*shells, *grown])[[3, 8, 0, 5, 2, 7, 1, 6, 4]]
    assert sorted(len(chain.members) for chain in chains_of(masks, 1)) == [4, 5]
