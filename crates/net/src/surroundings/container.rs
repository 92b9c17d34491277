//! Whether this process runs in a container, by the traces that runtimes leave.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::cgroup::container_in_cgroup;

/// Who runs the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerKind {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Kubernetes, whatever runs its containers.
    Kubernetes,
    /// LXC, LXD or Incus: a container that behaves like a machine, mostly with an address of its
    /// own on the home network.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// Another one; the word that it leaves in the variable `container`, or `unknown`.
    Other(String),
}

impl fmt::Display for ContainerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContainerKind::Docker => "Docker",
            ContainerKind::Podman => "Podman",
            ContainerKind::Kubernetes => "Kubernetes",
            ContainerKind::Lxc => "LXC",
            ContainerKind::Nspawn => "systemd-nspawn",
            ContainerKind::Other(word) => word,
        })
    }
}

/// The container around this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Who runs it.
    pub kind: ContainerKind,
    /// The first twelve digits of its id, where it can be seen from inside.
    pub id: Option<String>,
}

/// The container that this process runs in; `None` on a machine of its own, virtual ones included.
pub fn container() -> Option<Container> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // Runtimes give the variable to the first process; ours may have it too.
    let environ = fs::read("/proc/1/environ").unwrap_or_default();
    let of_first = environ
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"container="))
        .map(|word| String::from_utf8_lossy(word).into_owned());
    Traces {
        dockerenv: Path::new("/.dockerenv").exists(),
        containerenv: Path::new("/run/.containerenv").exists(),
        kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        variable: of_first
            .or_else(|| std::env::var("container").ok())
            .unwrap_or_else(|| read("/run/systemd/container").trim().to_owned()),
        cgroup: read("/proc/self/cgroup"),
        mounts: read("/proc/self/mountinfo"),
    }
    .container()
}

/// What was found.
#[derive(Debug, Default)]
struct Traces {
    dockerenv: bool,
    containerenv: bool,
    kubernetes: bool,
    /// Value of the variable `container`; empty if there is none.
    variable: String,
    /// `/proc/self/cgroup`.
    cgroup: String,
    /// `/proc/self/mountinfo`.
    mounts: String,
}

impl Traces {
    fn container(&self) -> Option<Container> {
        let in_cgroup = container_in_cgroup(&self.cgroup);
        let in_mounts = id_in_mounts(&self.mounts);
        let kind = self.kind(in_cgroup.as_ref().map(|id| id.runtime), in_mounts.is_some())?;
        Some(Container {
            kind,
            id: in_cgroup.map(|container| container.id).or(in_mounts),
        })
    }

    fn kind(&self, runtime: Option<&str>, is_mounted_by_docker: bool) -> Option<ContainerKind> {
        let variable = self.variable.as_str();
        if self.kubernetes || runtime == Some("cri-o") {
            return Some(ContainerKind::Kubernetes);
        }
        match variable {
            "docker" => return Some(ContainerKind::Docker),
            "podman" => return Some(ContainerKind::Podman),
            "systemd-nspawn" => return Some(ContainerKind::Nspawn),
            "lxc" | "lxc-libvirt" => return Some(ContainerKind::Lxc),
            // A virtual machine that feels like a machine, and the init of one.
            "wsl" => return None,
            _ => {}
        }
        // Podman's compatibility leaves Docker's file too, so its own comes first.
        if self.containerenv || runtime == Some("podman") {
            return Some(ContainerKind::Podman);
        }
        if self.dockerenv || is_mounted_by_docker || runtime == Some("docker") {
            return Some(ContainerKind::Docker);
        }
        match runtime {
            Some("containerd") => Some(ContainerKind::Kubernetes),
            Some("lxc") => Some(ContainerKind::Lxc),
            _ if !variable.is_empty() => Some(ContainerKind::Other(variable.to_owned())),
            _ => None,
        }
    }
}

/// Docker mounts `/etc/hostname` and its neighbours from the container's folder, also where the
/// cgroup shows nothing (cgroup version 2): `… /var/lib/docker/containers/ID/hostname /etc/hostname
/// …`.
fn id_in_mounts(mounts: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let mut columns = line.split(' ').skip(3);
        let (root, at) = (columns.next()?, columns.next()?);
        if !at.starts_with("/etc/") {
            return None;
        }
        let (_, rest) = root.split_once("/containers/")?;
        let id = rest.split('/').next()?;
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| id[..12].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "34c3cc49e08e7846a543802fc9c77f0034c3cc49e08e7846a543802fc9c77f00";

    #[test]
    fn a_machine_without_traces_is_no_container() {
        let traces = Traces {
            cgroup: "0::/system.slice/safeport.service\n".to_owned(),
            mounts: "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned(),
            ..Traces::default()
        };
        assert_eq!(traces.container(), None);
    }

    #[test]
    fn docker_is_known_by_its_file_its_cgroup_or_its_mounts() {
        let by_file = Traces {
            dockerenv: true,
            ..Traces::default()
        };
        let by_cgroup = Traces {
            cgroup: format!("0::/system.slice/docker-{ID}.scope\n"),
            ..Traces::default()
        };
        let by_mounts = Traces {
            mounts: format!(
                "700 695 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 x rw\n"
            ),
            cgroup: "0::/\n".to_owned(),
            ..Traces::default()
        };
        for (traces, id) in [
            (by_file, None),
            (by_cgroup, Some("34c3cc49e08e".to_owned())),
            (by_mounts, Some("34c3cc49e08e".to_owned())),
        ] {
            let kind = ContainerKind::Docker;
            assert_eq!(traces.container(), Some(Container { kind, id }));
        }
    }

    #[test]
    fn each_other_runtime_is_known_and_an_unknown_one_keeps_its_word() {
        let with = |variable: &str| Traces {
            variable: variable.to_owned(),
            ..Traces::default()
        };
        for (traces, kind) in [
            (
                Traces {
                    containerenv: true,
                    dockerenv: true,
                    ..Traces::default()
                },
                ContainerKind::Podman,
            ),
            (
                Traces {
                    kubernetes: true,
                    ..with("docker")
                },
                ContainerKind::Kubernetes,
            ),
            (with("lxc"), ContainerKind::Lxc),
            (with("systemd-nspawn"), ContainerKind::Nspawn),
            (with("flatpak"), ContainerKind::Other("flatpak".to_owned())),
        ] {
            let seen = traces.container().expect("a container");
            assert_eq!(seen.kind, kind, "{traces:?}");
        }
        assert_eq!(with("wsl").container(), None);
    }

    #[test]
    fn a_machine_that_runs_docker_is_not_in_it() {
        let traces = Traces {
            mounts: format!(
                "80 29 0:40 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n"
            ),
            cgroup: "0::/system.slice/docker.service\n".to_owned(),
            ..Traces::default()
        };
        assert_eq!(traces.container(), None);
    }
}
