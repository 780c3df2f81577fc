//! How long a thread runs before others get their turn.

/// Nanoseconds that a thread of [`take_short_turns`] runs at a time, while others wait: the kernel's least.
#[cfg(target_os = "linux")]
const TURN_NS: u64 = 100_000;

/// Has the calling thread run often and briefly, with no more processor time in all: Linux gives the next turn to the thread whose
/// turn would end first. Those who serve callers are no longer behind those who work on batches, whose turns last some
/// milliseconds. Kernels before 6.12 don't know this and go on as before.
pub fn take_short_turns() {
    #[cfg(target_os = "linux")]
    if let Err(error) = linux::set_turn(TURN_NS) {
        tracing::debug!(%error, "the kernel sets no length of turns");
    }
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the standard library knows no scheduling; reads beside a full load of batches are answered a quarter sooner"
)]
mod linux {
    use std::io;

    /// Sets what `sched(7)` calls the runtime of a thread under `SCHED_OTHER`, and leaves all else about it.
    pub(super) fn set_turn(nanos: u64) -> io::Result<()> {
        const THIS_THREAD: libc::pid_t = 0;
        const NO_FLAGS: libc::c_uint = 0;
        let size = size_of::<libc::sched_attr>() as libc::c_uint;
        // SAFETY: all of its fields are integers, for which zero is a value.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes at most `size` bytes, which `attributes` has, and keeps no pointer.
        let read = unsafe {
            libc::syscall(
                libc::SYS_sched_getattr,
                THIS_THREAD,
                &raw mut attributes,
                size,
                NO_FLAGS,
            )
        };
        if read != 0 {
            return Err(io::Error::last_os_error());
        }
        attributes.sched_runtime = nanos;
        // SAFETY: the kernel reads `attributes.size` bytes, which it set itself to no more than there are, and keeps no pointer.
        let set = unsafe {
            libc::syscall(
                libc::SYS_sched_setattr,
                THIS_THREAD,
                &raw const attributes,
                NO_FLAGS,
            )
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn a_thread_may_set_its_own_turn() {
            let thread = std::thread::spawn(|| super::set_turn(super::super::TURN_NS));
            let set = thread.join().expect("it does not panic");
            set.expect("every Linux since 3.14 takes it");
        }
    }
}
