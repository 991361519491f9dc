//! The order in which a cluster comes up.

use anyhow::{Context, Result};

use crate::cluster::{Cluster, PATIENCE};
use crate::layout::init_scheduler;
use crate::machines::{self, Machine};
use crate::programs::find;

impl Cluster {
    /// Starts everything, and waits until a replica leads and every host is registered and heard of.
    ///
    /// # Errors
    /// When something ends at once, or takes too long.
    pub async fn start(&mut self) -> Result<()> {
        self.start_nats().await?;
        self.start_schedulers()?;
        self.start_boxed_hosts()?;
        self.start_first_host()?;
        self.start_other_hosts().await?;
        self.wait_for_leader().await?;
        self.wait_for_hosts().await.map(drop)
    }

    /// Starts the replicas, for the first time.
    ///
    /// # Errors
    /// When one can't be started.
    pub fn start_schedulers(&mut self) -> Result<()> {
        if self.machines {
            machines::make_programs(&self.directory, self.schedulers.len())?;
        }
        for (index, replica) in self.schedulers.iter_mut().enumerate() {
            init_scheduler(&self.directory, index)?;
            if self.machines {
                let data = self.directory.join(format!("s{}", index + 1));
                Machine::new(&self.directory, index + 1).make_disk(&data)?;
            }
            replica.start()?;
        }
        Ok(())
    }

    /// Starts nats-server, and waits until it takes connections.
    ///
    /// # Errors
    /// When it ends at once, or takes too long.
    pub async fn start_nats(&mut self) -> Result<()> {
        self.nats.start()?;
        let address = self.nats_url().trim_start_matches("nats://").to_owned();
        self.wait("nats-server takes connections", PATIENCE, async || {
            tokio::net::TcpStream::connect(&address).await?;
            Ok(())
        })
        .await
    }

    /// Starts the machines of the hosts in boxes, each of which finds out by itself what its hypervisors can do.
    ///
    /// # Errors
    /// When one can't be made or started.
    fn start_boxed_hosts(&mut self) -> Result<()> {
        let images = self.images();
        for (name, boxed) in &self.boxes {
            boxed.make_disks(&images, ("chv-hostd", &find("chv-hostd")?))?;
            let machine = self.hosts.iter_mut().find(|(host, _)| host.name == *name);
            machine.map_or(Ok(()), |(_, machine)| machine.start())?;
        }
        Ok(())
    }

    /// Starts the daemon of the first host, which finds out what this machine's hypervisors can do.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_first_host(&mut self) -> Result<()> {
        self.hosts
            .iter_mut()
            .find(|(host, _)| !host.boxed)
            .map_or(Ok(()), |(_, program)| program.start())
    }

    /// Starts the other hosts' daemons. They are on the same machine, so they are given what the first one found out.
    ///
    /// # Errors
    /// When one can't be started, or the first has found out nothing in time.
    pub async fn start_other_hosts(&mut self) -> Result<()> {
        let here = self.hosts.iter().filter(|(host, _)| !host.boxed);
        let names: Vec<String> = here.map(|(host, _)| host.name.clone()).collect();
        let Some((first, others)) = names.split_first() else {
            return Ok(());
        };
        let found = self.directory.join(first).join("probe.json");
        if !others.is_empty() {
            let look = async || Ok(std::fs::metadata(&found).map(drop)?);
            self.wait("the first host knows its hypervisors", PATIENCE, look)
                .await?;
        }
        for name in others {
            let data = self.directory.join(name);
            std::fs::create_dir_all(&data)?;
            std::fs::copy(&found, data.join("probe.json"))
                .context("can't hand on what the first host found out")?;
            self.host(name)?.start()?;
        }
        Ok(())
    }
}
