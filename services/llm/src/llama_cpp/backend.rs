//! The one llama.cpp of this process, and where its log lines go.

use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;

use crate::chat::EngineError;

/// The process-wide llama.cpp, initialised at the first call. Everything in this process that uses
/// llama.cpp must take it from here: a second initialisation fails.
///
/// # Errors
/// [`EngineError::Unavailable`] when other code initialised llama.cpp before.
pub fn backend() -> Result<&'static LlamaBackend, EngineError> {
    static BACKEND: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    let made = BACKEND.get_or_init(|| {
        log::forward();
        LlamaBackend::init().map_err(|error| error.to_string())
    });
    made.as_ref()
        .map_err(|cause| EngineError::Unavailable(format!("llama.cpp: {cause}")))
}

pub(super) use log::take_fault;

/// llama.cpp's log lines go to tracing at debug.
///
/// llama-cpp-2 has a forwarder too, but it passes llama.cpp's own levels on, so that each load
/// fills the log, and it aborts the process on a line that has no level.
#[allow(
    unsafe_code,
    reason = "a C callback is the only way to get llama.cpp's log"
)]
mod log {
    use std::cell::RefCell;
    use std::ffi::{CStr, c_char, c_void};
    use std::panic::catch_unwind;

    thread_local! {
        /// The first error line since the last look, on the thread that loads a model: llama.cpp
        /// returns no other reason.
        static FAULT: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// Takes the first error that llama.cpp logged on this thread since the last call.
    pub fn take_fault() -> Option<String> {
        FAULT.with(|fault| fault.borrow_mut().take())
    }

    pub fn forward() {
        // SAFETY: `line` has the signature that llama.cpp expects, takes no user data, and lives
        // as long as the process.
        unsafe { llama_cpp_sys_2::llama_log_set(Some(line), std::ptr::null_mut()) };
    }

    unsafe extern "C" fn line(
        level: llama_cpp_sys_2::ggml_log_level,
        text: *const c_char,
        _: *mut c_void,
    ) {
        if text.is_null() {
            return;
        }
        // SAFETY: llama.cpp passes a string that ends with NUL and lives for this call.
        let text = unsafe { CStr::from_ptr(text) };
        // A panic must not unwind into C++.
        let _ = catch_unwind(|| {
            let text = text.to_string_lossy();
            let text = text.trim();
            if text.is_empty() {
                return;
            }
            if level == llama_cpp_sys_2::GGML_LOG_LEVEL_ERROR {
                FAULT.with(|fault| {
                    fault.borrow_mut().get_or_insert_with(|| text.to_owned());
                });
            }
            tracing::debug!(target: "llama.cpp", level, "{text}");
        });
    }
}
