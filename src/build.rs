//! How the program is linked, for a quick start.
//!
//! At a fixed address: nothing is relocated at start, which saves a third of a millisecond and two
//! megabytes of pages that would be touched for it. Heap, stack and libraries are still placed at random.
//!
//! In a release, what a short run calls stands side by side (`startup.ld`): strewn over the whole
//! program it would bring most of it into memory. And the unwinder, needed by nobody who does not panic, is
//! linked in: as a library it asks the processor what it is while it is loaded, a tenth of a millisecond and
//! more in a virtual machine.

fn main() {
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-changed=src/startup.ld");
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells a build script by its environment"
    )]
    let set = |name| std::env::var(name).unwrap_or_default();
    // These two linkers take no scripts.
    let flags = set("CARGO_ENCODED_RUSTFLAGS") + &set("RUSTC_LINKER");
    let has_scripts = !flags.contains("mold") && !flags.contains("wild");
    if set("PROFILE") == "release" && set("CARGO_CFG_TARGET_OS") == "linux" && has_scripts {
        // A copy beside what is built: the sources may be moved, or others be built into the same directory, and
        // Cargo would go on with the old path.
        let place = set("OUT_DIR");
        let order = format!("{place}/startup.ld");
        match std::fs::copy("src/startup.ld", &order) {
            Ok(_) => println!("cargo:rustc-link-arg-bins=-T{order}"),
            Err(error) => println!("cargo:warning=a slower start, without {order}: {error}"),
        }
        let is_native = set("HOST") == set("TARGET");
        if is_native && set("CARGO_CFG_TARGET_ENV") == "gnu" && has_unwinder() {
            // What the linker takes for the library is a script that names the archives.
            let script = std::fs::write(format!("{place}/libgcc_s.so"), UNWINDER);
            if script.is_ok() {
                println!("cargo:rustc-link-search=native={place}");
            }
        }
    }
}

const UNWINDER: &str = "GROUP ( -lgcc_eh -lgcc )\n";

/// Whether the compiler that links comes with the unwinder as an archive.
fn has_unwinder() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program's own way to start others is not there yet"
    )]
    let asked = std::process::Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    // It answers with a path where it has one, else with the bare name.
    asked.is_ok_and(|told| told.stdout.starts_with(b"/"))
}
