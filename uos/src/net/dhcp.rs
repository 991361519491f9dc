//! DHCP as a guest needs it: which message to send and what an answer means. Pure; the socket and the waiting are
//! in `client`, the packets' layout is smoltcp's.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

use crate::cidr::Cidr;

/// A lease that doesn't say how long it lasts lasts this long.
const UNSAID_LEASE: Duration = Duration::from_secs(3600);
/// Options asked for: netmask, router.
const WANTED: &[u8] = &[1, 3];
const ROUTER: u8 = 3;

/// A client in the midst of getting or keeping a lease.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Tells the answers to this client's messages from others'.
    pub(crate) transaction: u32,
    /// The NIC's hardware address.
    pub(crate) mac: [u8; 6],
}

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Is there a server?
    Discover,
    /// May I have what you offered?
    Request(Offer),
    /// May I keep what I have?
    Renew(Ipv4Addr),
}

/// An address that a server would give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
}

/// An address that a server gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The address and its network.
    pub(crate) address: Cidr,
    /// The default gateway, if there is one in that network.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// How long the address may be used, from when it was given.
    pub(crate) lasts: Duration,
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To `Discover`.
    Offered(Offer),
    /// Yes.
    Granted(Lease),
    /// No.
    Refused,
}

impl Exchange {
    /// The packet to broadcast.
    pub(crate) fn packet(&self, ask: Ask) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let (message_type, client_ip, offer) = match ask {
            Ask::Discover => (DhcpMessageType::Discover, none, None),
            Ask::Request(offer) => (DhcpMessageType::Request, none, Some(offer)),
            Ask::Renew(address) => (DhcpMessageType::Request, address, None),
        };
        let repr = DhcpRepr {
            message_type,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: EthernetAddress(self.mac),
            client_ip,
            your_ip: none,
            server_ip: none,
            router: None,
            subnet_mask: None,
            relay_agent_ip: none,
            // An answer to an address that the NIC doesn't have yet would not arrive.
            broadcast: true,
            requested_ip: offer.map(|offer| offer.address),
            client_identifier: Some(EthernetAddress(self.mac)),
            server_identifier: offer.map(|offer| offer.server),
            parameter_request_list: Some(WANTED),
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice()))
            .expect("the buffer has the length that this packet said it needs");
        bytes
    }

    /// What a packet says to this client; nothing if it is for another, or is no answer, or makes no sense.
    pub(crate) fn read(&self, bytes: &[u8]) -> Option<Answer> {
        let packet = DhcpPacket::new_checked(bytes).ok()?;
        let repr = DhcpRepr::parse(&packet).ok()?;
        if repr.transaction_id != self.transaction || repr.client_hardware_address.0 != self.mac {
            return None;
        }
        match repr.message_type {
            DhcpMessageType::Offer => {
                let server = repr.server_identifier?;
                Some(Answer::Offered(Offer {
                    address: repr.your_ip,
                    server,
                }))
            }
            DhcpMessageType::Ack => {
                let address = Cidr::with_netmask(repr.your_ip, repr.subnet_mask?).ok()?;
                // The client takes the first of several routers, which smoltcp's own reading doesn't.
                let routers = packet.options().find(|option| option.kind == ROUTER);
                let first = routers.and_then(|option| option.data.first_chunk::<4>().copied());
                let gateway = first
                    .map(Ipv4Addr::from)
                    .filter(|&gateway| address.contains(gateway));
                let lasts = repr
                    .lease_duration
                    .map_or(UNSAID_LEASE, |s| Duration::from_secs(s.into()));
                Some(Answer::Granted(Lease {
                    address,
                    gateway,
                    lasts,
                }))
            }
            DhcpMessageType::Nak => Some(Answer::Refused),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::DhcpOption;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

    fn client() -> Exchange {
        Exchange {
            transaction: 7,
            mac: MAC,
        }
    }

    fn server(message_type: DhcpMessageType, options: &[DhcpOption<'_>]) -> Vec<u8> {
        let repr = DhcpRepr {
            message_type,
            transaction_id: 7,
            secs: 0,
            client_hardware_address: EthernetAddress(MAC),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: GIVEN,
            server_ip: SERVER,
            router: None,
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: true,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(SERVER),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: Some(86400),
            renew_duration: None,
            rebind_duration: None,
            additional_options: options,
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice()))
            .unwrap();
        bytes
    }

    fn asked(ask: Ask) -> (DhcpMessageType, Ipv4Addr, Option<Ipv4Addr>, Option<Ipv4Addr>) {
        let bytes = client().packet(ask);
        let packet = DhcpPacket::new_checked(bytes.as_slice()).unwrap();
        let repr = DhcpRepr::parse(&packet).unwrap();
        assert!(repr.broadcast);
        (
            repr.message_type,
            repr.client_ip,
            repr.requested_ip,
            repr.server_identifier,
        )
    }

    #[test]
    fn given_an_offer_when_requested_then_its_address_and_server_are_named() {
        let answer = client().read(&server(DhcpMessageType::Offer, &[]));
        let offer = Offer {
            address: GIVEN,
            server: SERVER,
        };
        assert_eq!(answer, Some(Answer::Offered(offer)));
        let none = Ipv4Addr::UNSPECIFIED;
        assert_eq!(
            asked(Ask::Discover),
            (DhcpMessageType::Discover, none, None, None)
        );
        let request = (DhcpMessageType::Request, none, Some(GIVEN), Some(SERVER));
        assert_eq!(asked(Ask::Request(offer)), request);
        assert_eq!(
            asked(Ask::Renew(GIVEN)),
            (DhcpMessageType::Request, GIVEN, None, None)
        );
    }

    #[test]
    fn given_an_acknowledgement_with_two_routers_when_read_then_the_first_is_the_gateway() {
        let routers = DhcpOption {
            kind: ROUTER,
            data: &[10, 0, 2, 2, 10, 0, 2, 3],
        };
        let lease = Lease {
            address: "10.0.2.15/24".parse().unwrap(),
            gateway: Some(SERVER),
            lasts: Duration::from_secs(86400),
        };
        let answer = client().read(&server(DhcpMessageType::Ack, &[routers]));
        assert_eq!(answer, Some(Answer::Granted(lease)));
    }

    #[test]
    fn given_no_router_or_one_elsewhere_when_read_then_there_is_a_lease_without_a_gateway() {
        let elsewhere = [DhcpOption {
            kind: ROUTER,
            data: &[10, 9, 9, 9],
        }];
        for options in [&[][..], &elsewhere] {
            match client().read(&server(DhcpMessageType::Ack, options)) {
                Some(Answer::Granted(lease)) => assert_eq!(lease.gateway, None),
                other => panic!("{other:?} is no lease"),
            }
        }
    }

    #[test]
    fn given_an_answer_to_another_client_when_read_then_it_is_passed_over() {
        let bytes = server(DhcpMessageType::Nak, &[]);
        assert_eq!(client().read(&bytes), Some(Answer::Refused));
        assert_eq!(
            Exchange {
                transaction: 8,
                mac: MAC
            }
            .read(&bytes),
            None
        );
        assert_eq!(
            Exchange {
                transaction: 7,
                mac: [0; 6]
            }
            .read(&bytes),
            None
        );
    }

    proptest! {
        #[test]
        fn given_a_broken_answer_when_read_then_it_never_panics(at in 0usize..260, byte: u8, cut in 0usize..300) {
            let routers = DhcpOption { kind: ROUTER, data: &[10, 0, 2, 2] };
            let mut bytes = server(DhcpMessageType::Ack, &[routers]);
            if let Some(broken) = bytes.get_mut(at) {
                *broken = byte;
            }
            bytes.truncate(cut);
            let _ = client().read(&bytes);
        }
    }
}
