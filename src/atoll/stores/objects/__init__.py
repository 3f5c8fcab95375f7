"""Files of runs, in a folder or a store of objects."""

from atoll.stores.objects.store import Arrived, ObjectBlobStore, OffsetWrong

__all__ = ["Arrived", "ObjectBlobStore", "OffsetWrong"]
