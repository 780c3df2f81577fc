//! The scheduling of a thread.

/// Asks Linux for short time slices for the calling thread, so that threads with long slices delay it less. The share
/// of processor time stays the same. Linux before 6.12 ignores the request.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "neither the standard library nor rustix offers sched_setattr"
)]
pub(crate) fn shorten_time_slices() {
    const THIS_THREAD: libc::pid_t = 0;
    const NO_FLAGS: libc::c_uint = 0;
    /// The shortest slice that the kernel accepts, in nanoseconds.
    const SLICE_NS: u64 = 100_000;
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `attributes.size` bytes, all of them initialized, and keeps no pointer.
    let _refused = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            THIS_THREAD,
            &raw const attributes,
            NO_FLAGS,
        )
    };
}

/// Does nothing: only Linux has adjustable time slices.
#[cfg(not(target_os = "linux"))]
pub(crate) fn shorten_time_slices() {}
