//! Units and containers by the control groups that their processes are in.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

/// A container as its runtime knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerId {
    /// `docker`, `podman`, `containerd`, `lxc`.
    pub runtime: &'static str,
    /// The first twelve digits of its id, as `docker ps` shows; for `lxc` its name.
    pub id: String,
}

/// The systemd unit in a `/proc/PID/cgroup`: the innermost `.service`.
pub(crate) fn unit_in_cgroup(cgroup: &str) -> Option<String> {
    paths(cgroup)
        .find_map(|path| path.rsplit('/').find(|part| part.ends_with(".service")))
        .map(visible)
}

/// The container in a `/proc/PID/cgroup`.
pub(crate) fn container_in_cgroup(cgroup: &str) -> Option<ContainerId> {
    paths(cgroup).find_map(|path| {
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            for (runtime, prefix) in [
                ("docker", "docker-"),
                ("podman", "libpod-"),
                ("containerd", "cri-containerd-"),
                ("cri-o", "crio-"),
            ] {
                if let Some(id) = part
                    .strip_prefix(prefix)
                    .map(|rest| rest.trim_end_matches(".scope"))
                    && is_container_id(id)
                {
                    let id = id[..SHORT_ID].to_owned();
                    return Some(ContainerId { runtime, id });
                }
            }
            if let Some(name) = part.strip_prefix("lxc.payload.") {
                let id = visible(name);
                return Some(ContainerId { runtime: "lxc", id });
            }
            let within = match part {
                "docker" => "docker",
                "lxc" => "lxc",
                _ if part.starts_with("kubepods") => "containerd",
                _ => continue,
            };
            if within == "lxc" {
                let id = visible(parts.peek()?);
                return Some(ContainerId {
                    runtime: within,
                    id,
                });
            }
            if let Some(id) = parts.clone().find(|part| is_container_id(part)) {
                let id = id[..SHORT_ID].to_owned();
                return Some(ContainerId {
                    runtime: within,
                    id,
                });
            }
        }
        None
    })
}

const SHORT_ID: usize = 12;

fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The paths in lines of `hierarchy:controllers:path`.
fn paths(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2))
}

/// A process may call itself anything, also sequences that move a terminal's cursor.
pub(crate) fn visible(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_each_runtime_are_recognised() {
        let id = "34c3cc49e08e7846a543802fc9c77f0034c3cc49e08e7846a543802fc9c77f00";
        for (cgroup, runtime) in [
            (format!("0::/system.slice/docker-{id}.scope"), "docker"),
            (format!("9:pids:/docker/{id}\n0::/"), "docker"),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container"),
                "podman",
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                "containerd",
            ),
            (
                format!("4:memory:/kubepods/besteffort/pod123/{id}"),
                "containerd",
            ),
        ] {
            let container = container_in_cgroup(&cgroup).expect(&cgroup);
            assert_eq!(
                (container.runtime, container.id.as_str()),
                (runtime, "34c3cc49e08e"),
                "{cgroup}"
            );
        }
        for (cgroup, name) in [
            ("0::/lxc/media/ns", "media"),
            ("0::/lxc.payload.box", "box"),
        ] {
            let container = container_in_cgroup(cgroup).expect(cgroup);
            assert_eq!((container.runtime, container.id.as_str()), ("lxc", name));
        }
        for none in [
            "0::/",
            "",
            "0::/system.slice/docker.service",
            "4:memory:/x/34c3cc49",
        ] {
            assert_eq!(container_in_cgroup(none), None, "{none}");
        }
    }
}
