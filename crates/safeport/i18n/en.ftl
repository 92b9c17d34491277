# What people read, in English. Every id and argument is also in zh-CN.ftl.

error = error: { $what }
stdout-failed = the output could not be written

config-unreadable = the settings file { $path } cannot be read
config-unreadable-next = Give another file with --config; `{ $program } config example` prints one to start from.
flag-not-text = the value of { $flag } is not valid text
settings-bad = the settings have mistakes ({ $count }); nothing was started
settings-bad-next = Correct them and try again; `{ $program } check` looks without starting anything, `{ $program } config example` lists every key.
check-fine = The settings are fine (no settings file, all defaults or environment).
check-fine-file = The settings in { $path } are fine.
log-filter-bad = { $key } is no list of log levels

data-unnamed = no data folder is known for this user
data-unnamed-next = Name one with --data DIR, or as `data` in the section [server].
data-unusable = the data folder { $path } cannot be used
data-unusable-next = Choose another one with --data DIR.
data-locked = another Safeport already serves from { $path }
data-locked-next = Two servers cannot share one data folder. Commands such as `{ $program } user add` work while it runs.
certificates-failed = the certificates cannot be used
registry-failed = the registry of users and devices cannot be used
bind-failed = cannot listen on { $address } ({ $key })
threads-failed = the system gives no threads
engine-failed = the MQTT engine did not start
signals-failed = signals cannot be received
part-ended = the server stopped because a part of it ended: { $name }
part-ended-next = This is a defect. Please report it with the log above.

banner-serving = Safeport { $version } is serving.
banner-mqtt = MQTT
banner-mqtts = MQTT over TLS
banner-http = MQTT over WebSocket (/mqtt), /healthz, /metrics
banner-advertised = Devices are told: { $host }
banner-data = Data folder: { $path }
banner-anonymous = WARNING: open server. Everyone who reaches it may read and change everything, without a password.
banner-logins = Logins: { $count } (clients without one are refused)
next-open-loopback = Only programs on this machine reach it. To let devices in too, add --bind 0.0.0.0; to be safe, leave --open away.
next-open-everywhere = It listens on your network. Use this for trying things out only; to be safe, leave --open away.
next-try = Next, in other terminals: watch all messages, send one, start a pretend plug:
next-first-login = Nobody can log in yet. Next, in another terminal:
next-device = a device, with the line to paste into it:
next-user = or a user for yourself or a program, then watch all messages:
next-more = Next: add a device, with the line to paste into it:
next-watch = or watch all messages:

page-lead = This is a Safeport server: MQTT for the devices of a home. There is nothing to set up on this page.
page-mqtt = MQTT over WebSocket, subprotocol mqtt
page-health = whether the server is well
page-metrics = figures for Prometheus
page-missing = There is nothing at this address. MQTT over WebSocket is at /mqtt, the state of the server at /healthz, figures at /metrics.
page-speaks-tls = This port speaks TLS: use https:// instead of http:// in the address, and wss:// instead of ws:// for a WebSocket.

confirm-question = A change of the settings is waiting. That this page opens shows that the new address works. Keep the change?
confirm-button = Keep the change
confirm-by-post = Send POST to this address to keep it, for example with `curl -X POST`. Without that it is undone.
confirm-kept = The change is kept.
confirm-unknown = No change is waiting for this link. It may be kept already; `{ $program } config history` shows it.
confirm-late = Too late: the change was undone before. Make it once more and open the new link in time.
confirm-failed = The change could not be confirmed. The server's log says why.

vantage-expired = This link has expired, or it is of another server. Ask for a new one where you got it.
vantage-here = This phone or computer reached the server by { $address }. That address is proved from here.
vantage-elsewhere = This phone or computer reached the server by { $address }, which is none of the addresses that devices are told.
vantage-lead = Now the other addresses are tried from here. Load the page once more after you changed the network, for example from Wi-Fi to mobile data.
vantage-no-script = The other addresses are tried by a script, and this browser runs none.
vantage-waiting = being tried …
vantage-not-by-browser = A browser cannot speak plain MQTT; only a device or the server itself can try this one.
vantage-reached = works from here
vantage-foreign = Something answers there, but it is not this server. Look at the port, at the router and at the proxy.
vantage-failed = not reached from here. It may be the network you are in, a firewall, a wrong port, or a browser that was not allowed to look at the local network.
vantage-untrusted = not reached from here, or its certificate is not trusted by this browser. With Safeport's own certificates that is to be expected until ca.pem is installed here.
vantage-mixed = Not tried: this page came by https, and browsers keep such pages from http addresses. Open the page by an http address to try this one.

name-unknown = there is no { $name }
name-taken = the name { $name } is taken
filter-bad = this is no topic filter
password-failed = the password cannot be used
password-unreadable = the password on stdin cannot be read
password-once = The password, shown only now:
user-added = User { $name } was added: { $rights }
user-removed = User { $name } was removed; its connections end now.
user-passwd = User { $name } has a new password; connections with the old one end now.
user-rights = User { $name } now has: { $rights }
user-enabled = User { $name } may log in again.
user-disabled = User { $name } can no longer log in; its connections end now.
user-none = There are no users yet. `{ $program } user add NAME` adds one.
user-name-bad = { $name } cannot be a user name: 1 to { $limit } bytes, without control characters and without spaces at its ends

device-added = Device { $name } was added.
device-passwd = Device { $name } has a new password; its connection with the old one ends now.
device-forgotten = Device { $name } was forgotten; its connections end now.
device-none = There are no devices yet. `{ $program } device add tasmota --name plug-1` adds one.
device-name-bad = { $name } cannot be the name of a device
device-topic-bad = { $topic } cannot be the topic of a device
device-unknown-next = `{ $program } device list` shows all.
device-unreadable = the record of device { $name } is unreadable
device-show-next = Its password is not stored. `{ $program } device passwd { $name }` sets a new one and prints what to enter into the device.
listener-off = no listener suits this device
listener-off-next = Switch mqtts.enabled on, or leave --tls away and switch mqtt.enabled on.
setup-failed = the setup text of { $name } cannot be written
setup-tasmota = Paste this line into the device's console (Tools > Console); it restarts and connects:
setup-espeasy = Enter these values in the device's pages (Config, and Controllers > Add):
setup-esphome = Put this into the device's YAML and upload it:
setup-plain = Enter these values in the device:
setup-loopback = Note: { $host } reaches this server from this machine only. For a real device, let the server listen on the network (mqtt.bind) or give its address with --host.

cert-show = Certificate of the private CA, from { $path }:
cert-fingerprint = For Tasmota: MqttFingerprint1 (spaces included):

host-unknown = the host { $host } has no address
seconds-bad = { $given } is no time: give seconds, more than 0 and at most 86400
bench-running = { $scenario } on { $address } …
bench-failed = the load on { $address } could not be carried out
bench-inexact = messages were lost, doubled, reordered or altered: the figures are not worth quoting
bench-stopped = the broker stopped acknowledging before all messages were published
bench-not-kept = the broker did not keep what it had acknowledged

simulate-running = Pretend plugs: { $count }, on { $host }, port { $port }. Ctrl-C stops them.
simulate-failed = the pretend devices could not run
ca-unreadable = the CA certificate { $path } cannot be read

import-unreadable = { $path } cannot be read
import-unreadable-next = Run the import where the file is, as a user who may read it.
import-not-text = { $path } is not UTF-8 text (line { $line })
import-not-text-next = Save it as UTF-8 and try again.
import-title = Made by `safeport import` from { $files }
import-written = { $count } settings were written to { $path }.
import-exists = { $path } exists already; nothing was written
import-exists-next = Name a new file with --out, or move this one away.
import-unwritten = { $path } cannot be written
import-same = Nothing lost, Safeport does the same ({ $count }):
import-left = Not taken over ({ $count }):
import-all = Everything else was taken over.
import-logins = Logins to add ({ $count }); each command draws a new password and prints it once:
import-next = Next: save the settings as safeport.toml; `{ $program } check --config safeport.toml` looks at them without starting anything.
