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
    /// Whether the guest had been asked to power off, or had said that it does.
    pub powering_off: bool,
    /// The end of the hypervisor's log.
    pub last_words: &'a str,
}

/// How the guest ended.
pub fn reason(ended: Ended<'_>) -> ExitReason {
    let Ended {
        exit,
        killed,
        powering_off,
        last_words,
        ..
    } = ended;
    if let Some(reason) = killed {
        return reason.clone();
    }
    match exit {
        // QEMU leaves in order on SIGTERM too, and says in its log that it was told to.
        Exit::Code(0) if last_words.contains("terminating on signal") => ExitReason::Vanished,
        Exit::Code(0) => ExitReason::PoweredOff,
        Exit::Signal(signal) if ENDED_BY_HAND.contains(&signal) => ExitReason::Vanished,
        Exit::Unobserved if powering_off => ExitReason::PoweredOff,
        Exit::Unobserved => ExitReason::Vanished,
        Exit::Code(_) | Exit::Signal(_) => ExitReason::Crashed(cut(&format!("it {exit}; {last_words}"))),
    }
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

    fn ended(exit: Exit, powering_off: bool, last_words: &str) -> ExitReason {
        reason(Ended {
            exit,
            killed: None,
            powering_off,
            last_words,
        })
    }

    #[test]
    fn given_an_end_that_nobody_asked_for_then_it_vanished_crashed_or_powered_itself_off() {
        assert_eq!(ended(Exit::Code(0), false, "(none)"), ExitReason::PoweredOff);
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
    }

    #[test]
    fn given_that_this_daemon_killed_it_then_that_is_the_reason_whatever_the_exit() {
        let killed = Some(&ExitReason::StopTimedOut);
        for exit in [Exit::Code(0), Exit::Signal(9), Exit::Unobserved] {
            let ended = Ended {
                exit,
                killed,
                powering_off: true,
                last_words: "",
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
