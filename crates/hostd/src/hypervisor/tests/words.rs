//! What QEMU says on its monitor, word for word but for versions, times and the parts of an error that name our own words.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::{Leash, On, PATIENCE, ready};
use crate::hypervisor::AgentChannel;

/// A conversation with a monitor. Blocks: QEMU answers at once.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn say(&mut self, line: &str) {
        self.0
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// The next message, without what differs from one version or moment to the next.
    fn hear(&mut self) -> Value {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            assert!(line.ends_with("\r\n"), "{line:?}");
            let mut message: Value = serde_json::from_str(&line).unwrap();
            // A guest's own resets are its firmware's business.
            if message["event"] == "RESET" && message["data"]["guest"] == true {
                continue;
            }
            if let Some(timestamp) = message.get_mut("timestamp") {
                assert!(timestamp["seconds"].is_u64() && timestamp["microseconds"].is_u64());
                *timestamp = json!("when");
            }
            if let Some(version) = message.pointer_mut("/QMP/version") {
                assert!(version["qemu"]["major"].is_u64() && version["package"].is_string());
                *version = json!("which");
            }
            if message["error"]["desc"]
                .as_str()
                .is_some_and(|desc| desc.starts_with("JSON parse error"))
            {
                message["error"]["desc"] = json!("JSON parse error");
            }
            // Versions differ in it.
            if let Some(Value::Object(status)) = message.get_mut("return") {
                status.remove("singlestep");
            }
            return message;
        }
    }

    /// Whether something has come that was not heard yet.
    fn has_more(&mut self) -> bool {
        if !self.0.buffer().is_empty() {
            return true;
        }
        self.0.get_ref().set_nonblocking(true).unwrap();
        let read = self.0.get_mut().read(&mut [0]);
        self.0.get_ref().set_nonblocking(false).unwrap();
        match read {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    fn asks(&mut self, line: &str, answers: &[Value]) {
        self.say(line);
        for answer in answers {
            assert_eq!(self.hear(), *answer, "to {line}");
        }
    }

    fn does(&mut self, command: &str, answers: &[Value]) {
        self.asks(&json!({"execute": command, "id": 7}).to_string(), answers);
    }
}

fn done() -> Value {
    json!({"return": {}, "id": 7})
}

fn event(name: &str) -> Value {
    json!({"timestamp": "when", "event": name})
}

fn refused(desc: &str) -> Value {
    json!({"id": 7, "error": {"class": "CommandNotFound", "desc": desc}})
}

fn status(state: &str) -> Value {
    json!({"return": {"status": state, "running": state == "running"}, "id": 7})
}

/// Each command that the driver gives, in each state, and what is no command.
pub(super) async fn says_what_qemu_says(on: &On) {
    let dir = tempfile::tempdir().unwrap();
    let instance = on.hypervisor().launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    ready(&mut AgentChannel::open(&instance).await.unwrap()).await;
    let mut monitor = Monitor::connect(&instance.run_dir.api_socket());
    assert_eq!(
        monitor.hear(),
        json!({"QMP": {"version": "which", "capabilities": ["oob"]}})
    );

    let negotiate = "Expecting capabilities negotiation with 'qmp_capabilities'";
    monitor.does("query-status", &[refused(negotiate)]);
    monitor.does("qmp_capabilities", &[done()]);
    let negotiated = "Capabilities negotiation is already complete, command ignored";
    monitor.does("qmp_capabilities", &[refused(negotiated)]);
    monitor.does("nonsense", &[refused("The command nonsense has not been found")]);
    monitor.asks(
        "junk",
        &[json!({"error": {"class": "GenericError", "desc": "JSON parse error"}})],
    );

    monitor.does("query-status", &[status("running")]);
    monitor.does("cont", &[done()]);
    monitor.does("stop", &[event("STOP"), done()]);
    monitor.does("stop", &[done()]);
    monitor.does("query-status", &[status("paused")]);
    monitor.does("cont", &[event("RESUME"), done()]);
    let mut reset = event("RESET");
    reset["data"] = json!({"guest": false, "reason": "host-qmp-system-reset"});
    monitor.does("system_reset", &[reset.clone(), done()]);
    monitor.does("stop", &[event("STOP"), done()]);
    monitor.does("system_reset", &[reset, done()]);
    // One that was reset while it was held has not begun.
    monitor.does("query-status", &[status("prelaunch")]);
    monitor.does("cont", &[event("RESUME"), done()]);
    monitor.does("query-status", &[status("running")]);

    ready(&mut AgentChannel::open(&instance).await.unwrap()).await;
    monitor.does("system_powerdown", &[event("POWERDOWN"), done()]);
    let mut shutdown = event("SHUTDOWN");
    shutdown["data"] = json!({"guest": true, "reason": "guest-shutdown"});
    assert_eq!(monitor.hear(), shutdown);
}

/// Who connects second is greeted when the first has gone.
pub(super) async fn speaks_to_one_client_at_a_time(on: &On) {
    let dir = tempfile::tempdir().unwrap();
    let instance = on.hypervisor().launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let [mut first, mut second] = [(); 2].map(|()| Monitor::connect(&instance.run_dir.api_socket()));
    first.hear();
    first.does("qmp_capabilities", &[done()]);
    assert!(!second.has_more(), "two clients at once");
    drop(first);
    assert!(second.hear()["QMP"].is_object());
    // Each begins anew.
    let negotiate = "Expecting capabilities negotiation with 'qmp_capabilities'";
    second.does("stop", &[refused(negotiate)]);
    on.hypervisor().kill(&instance).await.unwrap();
}
