//! What the end of a hypervisor's process means for its guest.

use chv_domain::ExitReason;

use crate::hypervisor::Exit;

/// The most of a hypervisor's last words that goes into a report, in bytes.
const MAX_WORDS: usize = 1024;

/// SIGKILL and SIGTERM: somebody ended the process. Others come from its own faults.
const ENDED_BY_HAND: [i32; 2] = [9, 15];

/// An end, as it was seen.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// How the process ended.
    pub exit: Exit,
    /// Why this daemon ended it, when it did.
    pub killed: Option<&'a ExitReason>,
    /// Whether the guest had been asked to power off.
    pub asked: bool,
    /// Whether the guest had said that it powers off.
    pub bye: bool,
    /// Whether the host's kernel ended it for using more memory than it may.
    pub out_of_memory: bool,
    /// The end of the hypervisor's log.
    pub last_words: &'a str,
    /// The end of what the guest wrote on its console.
    pub console: &'a str,
}

/// How the guest ended.
pub fn reason(ended: Ended<'_>) -> ExitReason {
    let Ended {
        exit,
        killed,
        asked,
        bye,
        out_of_memory,
        last_words,
        console,
    } = ended;
    if let Some(reason) = killed {
        return reason.clone();
    }
    if out_of_memory {
        return ExitReason::OutOfMemory;
    }
    let powered_off = match asked {
        true => ExitReason::PoweredOff,
        false => ExitReason::PoweredOffItself,
    };
    match exit {
        // QEMU leaves in order on SIGTERM too, and says in its log that it was told to.
        Exit::Code(0) if last_words.contains("terminating on signal") => ExitReason::Vanished,
        // A kernel that panics resets its machine, which ends QEMU as a power-off does.
        Exit::Code(0) => match panic_in(console) {
            Some(said) => ExitReason::Panicked(cut(said)),
            None => powered_off,
        },
        Exit::Signal(signal) if ENDED_BY_HAND.contains(&signal) => ExitReason::Vanished,
        Exit::Unobserved if asked || bye => powered_off,
        Exit::Unobserved => ExitReason::Vanished,
        Exit::Code(_) | Exit::Signal(_) => ExitReason::Crashed(cut(&format!("it {exit}; {last_words}"))),
    }
}

/// What a kernel said when it panicked, and no kernel that was booted after it.
fn panic_in(console: &str) -> Option<&str> {
    const PANIC: &str = "Kernel panic - not syncing";
    const BOOT: &str = "Linux version ";
    let since = console.rfind(BOOT).map_or(console, |at| &console[at..]);
    Some(since.lines().rfind(|line| line.contains(PANIC))?.trim())
}

fn cut(text: &str) -> String {
    let end = (0..=MAX_WORDS.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(exit: Exit) -> Ended<'static> {
        Ended {
            exit,
            killed: None,
            asked: false,
            bye: false,
            out_of_memory: false,
            last_words: "",
            console: "",
        }
    }

    fn ended(exit: Exit, asked: bool, last_words: &str) -> ExitReason {
        reason(Ended {
            asked,
            last_words,
            ..of(exit)
        })
    }

    #[test]
    fn given_an_end_that_nobody_asked_for_then_it_vanished_crashed_or_powered_itself_off() {
        assert_eq!(
            ended(Exit::Code(0), false, "(none)"),
            ExitReason::PoweredOffItself
        );
        assert_eq!(ended(Exit::Code(0), true, "(none)"), ExitReason::PoweredOff);
        assert_eq!(ended(Exit::Signal(9), false, "(none)"), ExitReason::Vanished);
        let told = "qemu-system-x86_64: terminating on signal 15 from pid 7 (kill)";
        assert_eq!(ended(Exit::Code(0), false, told), ExitReason::Vanished);
        let ExitReason::Crashed(detail) = ended(Exit::Code(1), false, "no memory") else {
            panic!("no crash")
        };
        assert!(
            detail.contains("status 1") && detail.contains("no memory"),
            "{detail}"
        );
        assert!(matches!(
            ended(Exit::Signal(11), false, ""),
            ExitReason::Crashed(_)
        ));
    }

    #[test]
    fn given_an_end_that_was_not_observed_then_what_was_going_on_decides() {
        assert_eq!(ended(Exit::Unobserved, true, ""), ExitReason::PoweredOff);
        assert_eq!(ended(Exit::Unobserved, false, ""), ExitReason::Vanished);
        let bye = Ended {
            bye: true,
            ..of(Exit::Unobserved)
        };
        assert_eq!(reason(bye), ExitReason::PoweredOffItself);
    }

    #[test]
    fn given_a_panic_on_the_console_then_the_guest_panicked_unless_it_has_booted_since() {
        let panicked =
            "[ 0.0] Linux version 6\n[ 1.5] Kernel panic - not syncing: no init\n[ 1.6] Rebooting in 1 s..\n";
        let end = |console| {
            reason(Ended {
                console,
                ..of(Exit::Code(0))
            })
        };
        let said = "[ 1.5] Kernel panic - not syncing: no init".to_owned();
        assert_eq!(end(panicked), ExitReason::Panicked(said));
        let later = format!("{panicked}[ 0.0] Linux version 6\nreboot: Power down\n");
        assert_eq!(end(&later), ExitReason::PoweredOffItself);
    }

    #[test]
    fn given_that_the_kernel_ended_it_for_its_memory_then_that_is_the_reason() {
        let ended = Ended {
            out_of_memory: true,
            ..of(Exit::Signal(9))
        };
        assert_eq!(reason(ended), ExitReason::OutOfMemory);
    }

    #[test]
    fn given_that_this_daemon_killed_it_then_that_is_the_reason_whatever_the_exit() {
        let killed = Some(&ExitReason::StopTimedOut);
        for exit in [Exit::Code(0), Exit::Signal(9), Exit::Unobserved] {
            let ended = Ended {
                killed,
                asked: true,
                out_of_memory: true,
                ..of(exit)
            };
            assert_eq!(reason(ended), ExitReason::StopTimedOut);
        }
    }

    #[test]
    fn given_endless_last_words_then_a_report_has_the_start_of_them() {
        let ExitReason::Crashed(detail) = ended(Exit::Code(1), false, &"é".repeat(4000)) else {
            panic!("no crash")
        };
        assert!(detail.len() <= MAX_WORDS && detail.len() > MAX_WORDS - 4);
    }
}
