"""The revisions of the kernel's own tables; the runner is `hansa.kernel.migrating`."""
