//! QEMU's monitor protocol: what it answers to a line, word for word but for its version and the time.

use std::time::Instant;

use serde_json::{Value, json};

use crate::guest::Guest;
use crate::script::{Fault, Script};

/// What QEMU says first.
pub(crate) const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 0}, \
                                   \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";

/// What comes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This is said.
    Say(String),
    /// This is said, and the client is let go.
    SayAndHangUp(String),
    /// Nothing more is said to this client.
    Hang,
    /// The process ends.
    Die,
}

/// A conversation.
#[derive(Debug, Default)]
pub(crate) struct Qmp {
    negotiated: bool,
}

impl Qmp {
    /// Answers `line`.
    pub(crate) fn hear(&mut self, line: &str, guest: &mut Guest, script: &Script, now: Instant) -> Answer {
        let Ok(Value::Object(request)) = serde_json::from_str(line) else {
            return Answer::Say(error(None, "GenericError", "JSON parse error"));
        };
        let id = request.get("id");
        let command = request.get("execute").and_then(Value::as_str).unwrap_or_default();
        match (command, self.negotiated) {
            ("qmp_capabilities", false) => {
                self.negotiated = true;
                return Answer::Say(done(id, json!({})));
            }
            ("qmp_capabilities", true) => {
                let why = "Capabilities negotiation is already complete, command ignored";
                return Answer::Say(error(id, "CommandNotFound", why));
            }
            (_, false) => {
                let why = "Expecting capabilities negotiation with 'qmp_capabilities'";
                return Answer::Say(error(id, "CommandNotFound", why));
            }
            (_, true) => {}
        }
        let Some(request) = request_of(command) else {
            let why = format!("The command {command} has not been found");
            return Answer::Say(error(id, "CommandNotFound", &why));
        };
        let fault = script.at(request);
        match fault {
            Some(Fault::Hang) => return Answer::Hang,
            Some(Fault::Die) => return Answer::Die,
            Some(Fault::Refuse) => {
                return Answer::Say(error(id, "GenericError", "refused, as the script says"));
            }
            Some(Fault::Lost | Fault::Half) | None => {}
        }
        let text = execute(command, id, guest, script, now);
        match fault {
            Some(Fault::Lost) => Answer::Hang,
            Some(_) => Answer::SayAndHangUp(text[..text.len() / 2].to_owned()),
            None => Answer::Say(text),
        }
    }
}

/// What a script calls a command.
fn request_of(command: &str) -> Option<&'static str> {
    Some(match command {
        "query-status" => "status",
        "stop" => "pause",
        "cont" => "resume",
        "system_reset" => "reset",
        "system_powerdown" => "power-button",
        _ => return None,
    })
}

fn execute(command: &str, id: Option<&Value>, guest: &mut Guest, script: &Script, now: Instant) -> String {
    let mut text = String::new();
    let mut value = json!({});
    match command {
        "query-status" => {
            let state = script.state.as_deref().unwrap_or(guest.state());
            value = json!({"status": state, "singlestep": false, "running": state == "running"});
        }
        "stop" if guest.hold(now) => text.push_str(&event("STOP", None)),
        "cont" if guest.go_on(script, now) => text.push_str(&event("RESUME", None)),
        "system_reset" => {
            guest.reset(script, now);
            let by = json!({"guest": false, "reason": "host-qmp-system-reset"});
            text.push_str(&event("RESET", Some(by)));
        }
        "system_powerdown" => {
            text.push_str(&event("POWERDOWN", None));
            guest.press(script);
        }
        _ => {}
    }
    text.push_str(&done(id, value));
    text
}

fn done(id: Option<&Value>, value: Value) -> String {
    line(json!({"return": value}), id)
}

fn error(id: Option<&Value>, class: &str, desc: &str) -> String {
    line(json!({"error": {"class": class, "desc": desc}}), id)
}

/// Something that happened, told to whoever is connected.
pub(crate) fn event(name: &str, data: Option<Value>) -> String {
    let mut event = json!({"timestamp": {"seconds": 0, "microseconds": 0}, "event": name});
    if let Some(data) = data {
        event["data"] = data;
    }
    line(event, None)
}

fn line(mut message: Value, id: Option<&Value>) -> String {
    if let Some(id) = id {
        message["id"] = id.clone();
    }
    format!("{message}\r\n")
}
