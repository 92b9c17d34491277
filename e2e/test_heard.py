"""mosquitto's clients say what boards say, as it was recorded: the server knows the devices by it."""

import json
import subprocess
import time

import pytest

import server as servers
from conftest import eventually

MAC = "A0B1C23D5E26"
DISCOVERY = (
    '{"ip":"192.168.1.31","dn":"Kitchen","fn":["Kitchen",null,null,null,null,null,null,null],"hn":"tasmota-3D5E26-7718",'
    '"mac":"A0B1C23D5E26","md":"Athom Plug V2","ty":0,"if":0,"cam":0,"ofln":"Offline","onln":"Online",'
    '"state":["OFF","ON","TOGGLE","HOLD"],"sw":"15.0.1","t":"plug-1","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],'
    '"rl":[1,0,0,0,0,0,0,0],"swc":[-1,-1],"swn":[null,null],"btn":[0,0],"so":{"4":0,"11":0,"13":0,"17":0,"20":0,"30":0,'
    '"68":0,"73":0,"82":0,"114":0,"117":0},"lk":0,"lt_st":0,"bat":0,"dslp":0,"sho":[0,0,0,0],"ver":1}')
INFO1 = ('{"Info1":{"Module":"Generic","Version":"15.0.1(release-tasmota32)","FallbackTopic":"cmnd/DVES_3D5E26_fb/",'
         '"GroupTopic":"cmnd/tasmotas/"}}')
INFO1_SAFEBOOT = INFO1.replace("15.0.1(release-tasmota32)", "14.3.0(release-safeboot)")
INFO2 = ('{"Info2":{"WebServerMode":"Admin","Hostname":"tasmota-3D5E26-7718","IPAddress":"192.168.1.31","IP6Global":"",'
         '"IP6Local":"fe80::a2b1:c2ff:fe3d:5e26","Ethernet":{"Hostname":"","IPAddress":"0.0.0.0"}}}')
INFO3 = '{"Info3":{"RestartReason":"Software reset CPU","BootCount":12}}'
CRASHED = INFO3.replace('"Software reset CPU"', '{"Exception":28,"Reason":"Exception","EPC":["40100a2b"],"EXCVADDR":"00000004"}')
STATUS1 = ('{"StatusPRM":{"Baudrate":115200,"SerialConfig":"8N1","GroupTopic":"tasmotas","OtaUrl":'
           '"http://ota.tasmota.com/tasmota32/release/tasmota32.bin","RestartReason":"Software reset CPU",'
           '"Uptime":"0T00:02:11","StartupUTC":"2026-11-22T20:00:00","Sleep":50,"CfgHolder":4617,"BootCount":12,'
           '"BCResetTime":"2026-01-01T00:00:00","SaveCount":40}}')
STATUS2 = ('{"StatusFWR":{"Version":"15.0.1(release-tasmota32)","BuildDateTime":"2026-06-20T10:00:00","Core":"3_1_3",'
           '"SDK":"5.3.3.250501","CpuFrequency":160,"Hardware":"ESP32-D0WD-V3 v3.0","CR":"457/699"}}')
STATUS4 = ('{"StatusMEM":{"ProgramSize":2000,"Free":880,"Heap":166,"StackLowMark":3,"PsrMax":0,"PsrFree":0,'
           '"ProgramFlashSize":4096,"FlashSize":4096,"FlashChipId":"1640C8","FlashFrequency":40,"FlashMode":"DIO",'
           '"Features":["0809"],"Drivers":"1,2,3","Sensors":"1,2"}}')
STATUS5 = ('{"StatusNET":{"Hostname":"tasmota-3D5E26-7718","IPAddress":"192.168.1.31","Gateway":"192.168.1.1",'
           '"Subnetmask":"255.255.255.0","DNSServer1":"192.168.1.1","DNSServer2":"0.0.0.0","Mac":"A0:B1:C2:3D:5E:26",'
           '"Ethernet":{"Hostname":"","IPAddress":"0.0.0.0","Mac":"00:00:00:00:00:00"},"Webserver":2,"HTTP_API":1,'
           '"WifiConfig":4,"WifiPower":16.0}}')
STATUS6 = ('{"StatusMQT":{"MqttHost":"192.168.1.10","MqttPort":8883,"MqttClientMask":"DVES_%06X","MqttClient":"plug-1",'
           '"MqttUser":"plug-1","MqttCount":2,"MAX_PACKET_SIZE":1200,"KEEPALIVE":30,"SOCKET_TIMEOUT":4}}')
ESPHOME = ('{"ip":"192.168.1.60","name":"door","friendly_name":"Front Door","port":6053,"version":"2024.6.1",'
           '"mac":"a0b1c23d5e27","platform":"ESP32","board":"esp32dev","network":"wifi","project_name":"home.door",'
           '"project_version":"1.4"}')


class Mouth:
    """`mosquitto_pub` with the login of a device."""

    def __init__(self, here, family, name):
        self.here, self.name = here, name
        said = here.json("device", "add", family, "--name", name, "--host", "192.168.1.10")
        self.login = ["-h", here.host, "-p", str(here.mqtt_port), "-V", "311", "-q", "1", "-u", said["username"],
                      "-P", said["password"], "-i", said["client_id"]]

    def says(self, topic, payload, *options):
        done = subprocess.run([servers.client("mosquitto_pub"), *self.login, "-t", topic, "-m", payload, *options],
                              capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, done.stderr

    def stays(self, topic, *options):
        """Is connected and says each line of its standard input."""
        return subprocess.Popen([servers.client("mosquitto_pub"), *self.login, "-t", topic, "-l", "-k", "30", *options],
                                stdin=subprocess.PIPE, text=True)

    def known(self):
        return self.here.json("device", "show", self.name)

    def is_known_by(self, mac):
        return ("mac", mac) in [(each["kind"], each["value"]) for each in self.known()["identities"]]

    def shows(self, seconds=10, **wanted):
        """Waits until `device show` says this."""
        eventually(lambda: {key: self.known()[key] for key in wanted} == wanted, seconds, 0.2)
        assert {key: self.known()[key] for key in wanted} == wanted


def versions(shown):
    return {each["slot"]: each["version"] for each in shown["images"]}


@pytest.fixture
def here(home):
    return home().start()


def test_a_tasmota_is_known_by_its_discovery_its_infos_and_its_status(here):
    plug = Mouth(here, "tasmota", "plug-1")
    plug.says(f"tasmota/discovery/{MAC}/config", DISCOVERY, "-r")
    plug.shows(version="15.0.1", label="Kitchen", board="Athom Plug V2", chip=None)
    assert plug.is_known_by("a0:b1:c2:3d:5e:26")
    # In its safeboot first: that is how its version becomes known.
    plug.says("tele/plug-1/INFO1", INFO1_SAFEBOOT)
    plug.shows(running="safeboot")
    plug.says("tele/plug-1/INFO1", INFO1)
    plug.says("tele/plug-1/INFO2", INFO2)
    plug.says("tele/plug-1/INFO3", INFO3)
    plug.shows(running="main", hostname="tasmota-3D5E26-7718", boot_count=12, restart_reason="Software reset CPU")
    for number, status in ((1, STATUS1), (2, STATUS2), (4, STATUS4), (5, STATUS5), (6, STATUS6)):
        plug.says(f"stat/plug-1/STATUS{number}", status)
    plug.shows(chip="esp32", flash_size=4 << 20, ota_url="http://ota.tasmota.com/tasmota32/release/tasmota32.bin")
    shown = plug.known()
    assert versions(shown) == {"main": "15.0.1", "safeboot": "14.3.0"}, shown["images"]
    main = next(each for each in shown["images"] if each["slot"] == "main")
    assert main["variant"] == "tasmota32", main
    # For people, too.
    text = here.cli("device", "show", "plug-1").stdout
    assert all(word in text for word in ("tasmota", "esp32", "15.0.1", "14.3.0", "safeboot")), text
    row = next(line for line in here.cli("device", "list").stdout.splitlines() if line.startswith("plug-1"))
    assert "tasmota" in row and "15.0.1" in row, row
    listed = here.json("device", "list")
    rows = listed["devices"] if isinstance(listed, dict) else listed
    assert [(each["name"], each["family"], each["chip"], each["version"]) for each in rows] == \
        [("plug-1", "tasmota", "esp32", "15.0.1")]


def test_birth_and_will_tell_whether_a_tasmota_is_there(here):
    plug = Mouth(here, "tasmota", "plug-1")
    board = plug.stays("tele/plug-1/LWT", "-r", "--will-topic", "tele/plug-1/LWT", "--will-payload", "Offline",
                       "--will-retain", "--will-qos", "1")
    try:
        board.stdin.write("Online\n")
        board.stdin.flush()
        plug.shows(online=True)
    finally:
        # Without a DISCONNECT, as when the power goes.
        board.kill()
        board.wait(10)
    plug.shows(online=False)
    plug.says("tele/plug-1/INFO3", CRASHED)
    assert eventually(lambda: "xception" in json.dumps(plug.known()["restart_reason"]), 5), plug.known()


def test_an_espeasy_is_there_from_its_birth_to_its_will(here):
    node = Mouth(here, "espeasy", "node-1")
    board = node.stays("node-1/status/LWT", "-r", "--will-topic", "node-1/status/LWT", "--will-payload", "Connection Lost",
                       "--will-retain")
    try:
        board.stdin.write("Connected\n")
        board.stdin.flush()
        node.shows(online=True, family="espeasy")
    finally:
        board.kill()
        board.wait(10)
    node.shows(online=False)


def test_an_esphome_is_known_by_its_discovery(here):
    door = Mouth(here, "esphome", "door")
    door.says("esphome/discover/door", ESPHOME, "-r")
    door.shows(family="esphome", chip="esp32", version="1.4", label="Front Door")
    assert door.is_known_by("a0:b1:c2:3d:5e:27")
    door.says("door/status", "online", "-r")
    door.shows(online=True)
    door.says("door/update/firmware/state", '{"installed_version":"1.5","latest_version":"1.5","title":""}')
    door.shows(version="1.5")


def test_a_stranger_who_says_it_is_a_device_changes_nothing_of_it(here):
    plug = Mouth(here, "tasmota", "plug-1")
    plug.says(f"tasmota/discovery/{MAC}/config", DISCOVERY, "-r")
    plug.shows(version="15.0.1")
    other = Mouth(here, "tasmota", "plug-2")
    # The address of the first one, under the second one's login.
    other.says(f"tasmota/discovery/{MAC}/config", DISCOVERY.replace("15.0.1", "66.6.6").replace("plug-1", "plug-2"), "-r")
    time.sleep(1)
    assert plug.known()["version"] == "15.0.1" and plug.is_known_by("a0:b1:c2:3d:5e:26")
    assert not other.is_known_by("a0:b1:c2:3d:5e:26")
    assert eventually(lambda: "plug-2" in here.cli("device", "quarantine").stdout, 5), here.cli("device", "quarantine").stdout
