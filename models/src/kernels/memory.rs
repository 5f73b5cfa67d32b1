//! The C library's allocator, tuned for tensors.

/// Tells the allocator to keep freed memory instead of handing it back to the system, and to take it from huge pages.
///
/// candle allocates every result anew. By default large blocks are mapped and unmapped each time, and the page faults
/// then cost more than the kernels that fill them (a 12 MB activation: 26 ms instead of 9). Huge pages have 512 times fewer of
/// them to begin with. Call it once, early in `main` of a program that trains or imagines, before threads start: they then
/// share one heap. Does nothing outside glibc. The process keeps its largest size until it ends.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallopt only sets numbers of the allocator.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_MAX, 0);
            // Never: a limit, however high, is one that a long clip's activations pass with every step.
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        }
        ask_for_huge_pages();
    }
}

/// Share of the machine's memory that the heap asks for in advance: addresses only, no memory until it is used.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SHARE: usize = 2;

/// Lets the heap grow to a share of the machine's memory at once, and asks for huge pages all over it. The heap is never
/// trimmed, so what comes later lies in there.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn ask_for_huge_pages() {
    const HUGE: usize = 2 << 20;
    // SAFETY: sysconf only tells numbers. The block belongs to us between malloc and free, is not touched, and the advice says
    // only what pages it is to be made of; where any of it is refused the heap is what it was.
    unsafe {
        let (pages, size) = (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE));
        let (Ok(pages), Ok(size)) = (usize::try_from(pages), usize::try_from(size)) else { return };
        let bytes = pages.saturating_mul(size) / SHARE;
        let block = libc::malloc(bytes);
        if block.is_null() {
            return;
        }
        let first = (block as usize).next_multiple_of(HUGE);
        let length = (block as usize + bytes).saturating_sub(first) / HUGE * HUGE;
        if length > 0 {
            libc::madvise(first as *mut libc::c_void, length, libc::MADV_HUGEPAGE);
        }
        libc::free(block);
    }
}
