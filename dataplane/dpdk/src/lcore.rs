//! Threads that DPDK knows.

use crate::Eal;
use crate::error::{DpdkError, check};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::thread::{Builder, JoinHandle};

/// A running thread that is one of DPDK's lcores.
#[derive(Debug)]
pub struct LcoreThread<T> {
    thread: JoinHandle<Option<T>>,
}

impl<T> LcoreThread<T> {
    /// Waits for its end.
    ///
    /// # Panics
    /// If the thread panicked.
    pub fn join(self) -> T {
        self.thread.join().ok().flatten().expect("the thread ran to its end")
    }

    /// Has it ended?
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// A thread's place among DPDK's lcores; left when the value goes.
struct Registration {
    _eal: Eal,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: this thread registered itself, and the value never leaves it.
        unsafe { dpdk_sys::rte_thread_unregister() }
    }
}

fn enter(eal: Eal, core: Option<usize>) -> Result<Registration, DpdkError> {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|error| DpdkError {
            call: "sched_setaffinity",
            errno: error.raw_os_error(),
            hint: format!("cannot pin a thread to core {core}"),
        })?;
    }
    // After the affinity: DPDK takes the thread's NUMA node from it.
    // SAFETY: the EAL is initialised, and this thread is not one of its lcores yet.
    let code = unsafe { dpdk_sys::rte_thread_register() };
    check("rte_thread_register", code, "DPDK has no room for another thread (RTE_MAX_LCORE)")?;
    Ok(Registration { _eal: eal })
}

/// Runs `work` on a new thread that is pinned to `core` (`None`: where its parent runs) and is one of DPDK's lcores, so
/// that pools give it a cache of its own. Linux cuts its name to 15 bytes.
///
/// # Errors
/// If the core does not exist, the thread cannot be started, or DPDK has no room for it.
pub fn spawn_pinned<T: Send + 'static>(
    eal: &Eal,
    name: &str,
    core: Option<usize>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<LcoreThread<T>, DpdkError> {
    if let Some(core) = core {
        eal.check_core(core)?;
    }
    let (tell, entered) = std::sync::mpsc::channel();
    let eal = eal.clone();
    let body = move || match enter(eal, core) {
        Ok(registration) => {
            let _ = tell.send(Ok(()));
            let result = work();
            drop(registration);
            Some(result)
        }
        Err(error) => {
            let _ = tell.send(Err(error));
            None
        }
    };
    let thread = Builder::new().name(name.to_owned()).spawn(body).map_err(|error| DpdkError {
        call: "pthread_create",
        errno: error.raw_os_error().unwrap_or(0),
        hint: format!("cannot start thread {name}"),
    })?;
    match entered.recv() {
        Ok(Ok(())) => Ok(LcoreThread { thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(DpdkError::foreseen("pthread_create", format!("thread {name} ended at once"))),
    }
}
