//! PID 1 of a microVM. Everything it does is in the library; this only keeps the process from ending.

use std::panic::catch_unwind;

fn main() {
    if std::process::id() != 1 {
        eprintln!(
            "chv-uos is the init of a guest and does nothing elsewhere; boot it with an initramfs (docs/uos.md)"
        );
        std::process::exit(2);
    }
    // A PID 1 that ends takes the kernel with it. The panic itself is on the console already.
    let _ = catch_unwind(|| chv_uos::init::run());
    loop {
        std::thread::park();
    }
}
