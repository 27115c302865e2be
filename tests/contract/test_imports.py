import gc

import pytest

from contract import imports


def test_collection_waits_for_the_imports_and_then_leaves_them_alone():
    try:
        with imports.fast():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_collection_goes_on_after_an_import_that_fails():
    try:
        with pytest.raises(ImportError), imports.fast():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
