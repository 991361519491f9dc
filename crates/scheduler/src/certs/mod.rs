//! `chv-scheduler certs`: certificates for replicas, for those who have no authority of their own.

mod authority;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use chv_domain::{ClusterId, ReplicaId};
use clap::{Args, Subcommand};

use authority::Authority;
use write::{make_dir, write_private, write_public};

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const CERT: &str = "replica.pem";
const KEY: &str = "replica.key";

#[derive(Subcommand)]
pub(crate) enum Certs {
    /// Make an authority for a cluster. Once; its key signs for every replica, so keep it off them.
    InitCa(InitCa),
    /// Issue a replica's certificate, or renew it: a running replica takes the new one into use by itself.
    Issue(Issue),
}

#[derive(Args)]
pub(crate) struct InitCa {
    /// The cluster's id, a ULID, the same as given to `init`.
    #[arg(long)]
    cluster: ClusterId,
    /// The directory to write ca.pem and ca.key into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Issue {
    /// The directory that `init-ca` wrote.
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The replica's number.
    #[arg(long)]
    replica: ReplicaId,
    /// The directory to write replica.pem, replica.key and ca.pem into. What is there is replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many days it is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

impl Certs {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::InitCa(args) => init_ca(args),
            Self::Issue(args) => issue(args),
        }
    }
}

fn init_ca(args: &InitCa) -> anyhow::Result<()> {
    let (certificate, key) = (args.out.join(CA), args.out.join(CA_KEY));
    for file in [&certificate, &key] {
        ensure!(
            !file.exists(),
            "{} is there already; certificates of an authority that is replaced are refused, so choose another \
             directory",
            file.display()
        );
    }
    let made = Authority::make(args.cluster)?;
    make_dir(&args.out)?;
    write_private(&key, &made.key)?;
    write_public(&certificate, &made.certificate)?;
    println!(
        "{} is the authority of cluster {}, until {}; every replica gets a copy",
        certificate.display(),
        args.cluster,
        made.until
    );
    println!(
        "{} is its private key: who has it can be any replica, so keep it off the replicas",
        key.display()
    );
    Ok(())
}

fn issue(args: &Issue) -> anyhow::Result<()> {
    let (ca, authority) = read_authority(&args.ca)?;
    let issued = authority.issue(args.replica, args.days)?;
    let [certificate, key, own_ca] = [CERT, KEY, CA].map(|file| args.out.join(file));
    make_dir(&args.out)?;
    // A running replica that reads one without the other goes on with what it has.
    write_private(&key, &issued.key)?;
    write_public(&certificate, &issued.certificate)?;
    if std::path::absolute(&args.ca)? != std::path::absolute(&args.out)? {
        write_public(&own_ca, &ca)?;
    }
    println!(
        "{} is for replica {} of cluster {}, until {}; run the replica with",
        certificate.display(),
        args.replica,
        authority.cluster,
        issued.until
    );
    println!(
        "  --raft-cert {} --raft-key {} --raft-ca {}",
        certificate.display(),
        key.display(),
        own_ca.display()
    );
    Ok(())
}

fn read_authority(dir: &Path) -> anyhow::Result<(String, Authority)> {
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read_to_string(&path)
            .with_context(|| format!("can't read {}; is it what `certs init-ca` wrote?", path.display()))
    };
    let (certificate, key) = (read(CA)?, read(CA_KEY)?);
    let authority =
        Authority::read(&certificate, &key).with_context(|| dir.join(CA).display().to_string())?;
    Ok((certificate, authority))
}
