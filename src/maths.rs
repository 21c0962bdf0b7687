//! The three functions of C's mathematics that parts of this program name, and hardly ever call.
//!
//! With them here the program does without a shared library that takes 0.1 ms to load with each start.

use std::ffi::c_double;

#[expect(unsafe_code, reason = "it stands in for the C library's")]
// SAFETY: the same name, type and meaning as in C.
#[unsafe(no_mangle)]
extern "C" fn pow(base: c_double, exponent: c_double) -> c_double {
    libm::pow(base, exponent)
}

#[expect(unsafe_code, reason = "it stands in for the C library's")]
// SAFETY: the same name, type and meaning as in C.
#[unsafe(no_mangle)]
extern "C" fn log(value: c_double) -> c_double {
    libm::log(value)
}

#[expect(unsafe_code, reason = "it stands in for the C library's")]
// SAFETY: the same name, type and meaning as in C.
#[unsafe(no_mangle)]
extern "C" fn log2(value: c_double) -> c_double {
    libm::log2(value)
}
