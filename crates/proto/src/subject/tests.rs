//! What is built is taken apart again, and nothing else is.

use chv_domain::*;
use proptest::prelude::*;

use super::*;
use crate::strategies::{event, id, name};
use crate::v1;

fn verbs() -> impl Strategy<Value = Verb> {
    prop::sample::select(Verb::ALL.to_vec())
}

fn queries_of_all_kinds() -> impl Strategy<Value = Query> {
    prop::sample::select(vec![
        Query::GetVm(v1::GetVm::default()),
        Query::ListVms(v1::ListVms::default()),
        Query::ListHosts(v1::ListHosts::default()),
        Query::ListEvents(v1::ListEvents::default()),
        Query::GetStatus(v1::GetStatus::default()),
        Query::ReadLog(v1::ReadLog::default()),
        Query::ReadBase(v1::ReadBase::default()),
        Query::GetCluster(v1::GetCluster {}),
    ])
}

/// Whether `subject` fits `pattern` as the broker matches: `*` one token, `>` the rest.
fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

fn one_plain_subject(subject: &str) -> bool {
    subject
        .split('.')
        .all(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

proptest! {
    #[test]
    fn a_commands_subject_reads_back(user in name::<UserName>(), verb in verbs()) {
        let subject = command(&user, verb);
        prop_assert!(one_plain_subject(&subject) && matches(COMMANDS, &subject));
        prop_assert_eq!(parse_command(&subject), Ok((user, verb.as_str().to_owned())));
    }

    #[test]
    fn a_hosts_commands_go_on_its_own_subjects(host in name::<HostName>(), verb in verbs()) {
        let subject = command_of(&Actor::Host(host.clone()), verb);
        let own = format!("chv.host.{host}.>");
        prop_assert!(one_plain_subject(&subject) && matches(&own, &subject));
        let parsed = parse_host(&subject).ok();
        let expected = match verb {
            Verb::HostRegister => Some((host, HostMessage::Register)),
            Verb::HostReport => Some((host, HostMessage::Report)),
            _ => None,
        };
        prop_assert_eq!(parsed, expected);
    }

    #[test]
    fn a_querys_subject_reads_back(user in name::<UserName>(), asked in queries_of_all_kinds()) {
        for audience in Audience::ALL {
            let subject = query(&user, audience, &asked);
            prop_assert!(one_plain_subject(&subject) && matches(queries(audience), &subject));
            let expected = (user.clone(), audience, query_kind(&asked).to_owned());
            prop_assert_eq!(parse_query(&subject), Ok(expected));
        }
    }

    #[test]
    fn a_hosts_subject_reads_back_and_fits_one_wildcard(host in name::<HostName>()) {
        let wildcards = [HOST_REGISTRATIONS, HOST_REPORTS, HOST_HEARTBEATS, HOST_SLICES];
        for (message, wildcard) in HostMessage::ALL.into_iter().zip(wildcards) {
            let subject = host_message(&host, message);
            prop_assert!(one_plain_subject(&subject));
            let fitting: Vec<_> = wildcards.into_iter().filter(|pattern| matches(pattern, &subject)).collect();
            prop_assert_eq!(fitting, vec![wildcard]);
            prop_assert_eq!(parse_host(&subject), Ok((host.clone(), message)));
        }
    }

    #[test]
    fn a_consoles_subject_reads_back(user in name::<UserName>(), host in name::<HostName>()) {
        for message in ConsoleMessage::ALL {
            let subject = console(&user, &host, message);
            prop_assert!(one_plain_subject(&subject) && matches(&console_requests(&host), &subject));
            prop_assert_eq!(parse_console(&subject), Ok((user.clone(), host.clone(), message)));
        }
    }

    #[test]
    fn an_event_goes_where_subscribers_of_events_hear_it(event in event(), project in ".{0,20}", name in ".{0,20}") {
        let subject = super::event(&event, &project, &name);
        prop_assert!(one_plain_subject(&subject), "{}", subject);
        prop_assert!(matches(EVENTS, &subject) && subject.ends_with(event.kind()));
        let tokens = match event.resource() {
            Resource::Vm(_) => 6,
            Resource::Host(_) => 5,
            Resource::Cluster => 4,
        };
        prop_assert_eq!(subject.split('.').count(), tokens);
    }

    #[test]
    fn junk_is_refused_without_a_panic(text in ".{0,60}") {
        let _ = (parse_command(&text), parse_query(&text), parse_host(&text), parse_console(&text));
        let _ = (is_inbox_of(&text, &text), is_inbox_of("alice", &text));
    }

    #[test]
    fn almost_a_subject_is_taken_only_with_names_in_it(
        tokens in proptest::collection::vec(prop::sample::select(
            vec!["chv", "cmd", "query", "host", "console", "alice", "h1", "any", "vm", "get", "read", "register", "*",
                 ">", "", " ", "A", "a b"]), 0..8)
    ) {
        let text = tokens.join(".");
        let clean = |name: &str| !name.is_empty() && one_plain_subject(name);
        if let Ok((user, _)) = parse_command(&text) { prop_assert!(clean(user.as_str())); }
        if let Ok((user, ..)) = parse_query(&text) { prop_assert!(clean(user.as_str())); }
        if let Ok((host, _)) = parse_host(&text) { prop_assert!(clean(host.as_str())); }
        if let Ok((user, host, _)) = parse_console(&text) {
            prop_assert!(clean(user.as_str()) && clean(host.as_str()));
        }
    }

    #[test]
    fn an_inbox_is_its_users_alone(user in name::<UserName>(), other in name::<UserName>(), rest in "[A-Za-z0-9]{1,22}") {
        let inbox = format!("{}.{rest}", inbox_prefix(user.as_str()));
        prop_assert!(is_inbox_of(user.as_str(), &inbox));
        prop_assert_eq!(is_inbox_of(other.as_str(), &inbox), other == user);
    }

    #[test]
    fn a_host_has_the_inbox_of_its_nats_user(host in name::<HostName>(), vm in id(VmId::from_bytes)) {
        let inbox = format!("_INBOX.host-{host}.{vm}");
        prop_assert!(is_inbox_of_host(&host, &inbox));
    }
}

#[test]
fn what_is_no_single_subject_below_the_inbox_is_none_of_it() {
    for reply in [
        "_INBOX.alice",
        "_INBOX.alice.",
        "_INBOX.alice.>",
        "_INBOX.alice.*",
        "_INBOX.alice.a..b",
        "_INBOX.alice.a b",
        "_INBOX.alicex.a",
        "_INBOX.bob.a",
        "_inbox.alice.a",
        "chv.cmd.alice.vm.create",
        "",
    ] {
        assert!(!is_inbox_of("alice", reply), "{reply:?}");
    }
    assert!(is_inbox_of("alice", "_INBOX.alice.abc.1"));
}

#[test]
fn a_deleted_vms_event_has_a_placeholder_for_its_project() {
    let event = Event::VmDeleted {
        vm: VmId::from_bytes([0; 16]),
    };
    let subject = super::event(&event, "", "");
    assert_eq!(subject, "chv.evt.vm.-.00000000000000000000000000.deleted");
}
