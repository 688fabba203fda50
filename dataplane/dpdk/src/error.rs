//! The one error of the fence.

use std::ffi::CStr;
use std::fmt;

/// A call into DPDK failed, or would have failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpdkError {
    /// The DPDK function.
    pub call: &'static str,
    /// Its error number, positive; 0 if the fence found the fault before it called DPDK.
    pub errno: i32,
    /// What the operator should check, in one sentence.
    pub hint: String,
}

impl DpdkError {
    /// The call returned `code`: a negative error number, or -1 with the reason in `rte_errno`.
    pub(crate) fn returned(call: &'static str, code: i32, hint: impl Into<String>) -> DpdkError {
        let errno = if code < -1 { -code } else { rte_errno() };
        DpdkError { call, errno, hint: hint.into() }
    }

    /// The call was not made, because it could not succeed.
    pub(crate) fn foreseen(call: &'static str, hint: impl Into<String>) -> DpdkError {
        DpdkError { call, errno: 0, hint: hint.into() }
    }
}

fn rte_errno() -> i32 {
    // SAFETY: reads a variable of this thread.
    unsafe { dpdk_sys::shim_errno() }
}

/// Returns `Ok` for 0 and positive results.
pub(crate) fn check(call: &'static str, code: i32, hint: impl Into<String>) -> Result<(), DpdkError> {
    if code >= 0 { Ok(()) } else { Err(DpdkError::returned(call, code, hint)) }
}

impl fmt::Display for DpdkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.errno == 0 {
            return write!(f, "{}", self.hint);
        }
        // SAFETY: rte_strerror takes any number and returns a string in a buffer of this thread.
        let text = unsafe { dpdk_sys::rte_strerror(self.errno) };
        // SAFETY: the string is terminated, and nothing overwrites the buffer before this function ends.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        write!(f, "{} ({}: {text})", self.hint, self.call)
    }
}

impl std::error::Error for DpdkError {}
