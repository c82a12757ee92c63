//! What a process asks of the kernel before it does anything else.

/// No huge pages: the allocator would touch 2 MiB where it needs a few KiB (measured: 9 MiB of an idle
/// gateway against 2 MiB). Kernels without the call keep their way.
pub fn prefer_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// No core dumps, and no reading of our memory by others of the same user: it holds keys.
pub fn protect_memory() {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
