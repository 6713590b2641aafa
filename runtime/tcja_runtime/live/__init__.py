"""Events that are still coming: where they come from, a bounded queue, and times that go on."""
