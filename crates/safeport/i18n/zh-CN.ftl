# 面向用户的文字（简体中文）。每个标识和参数都与 en.ftl 相同。

error = 错误：{ $what }
stdout-failed = 输出无法写入

config-unreadable = 无法读取设置文件 { $path }
config-unreadable-next = 请用 --config 指定另一个文件；`{ $program } config example` 会打印一份示例。
flag-not-text = { $flag } 的值不是有效的文本
settings-bad = 设置中有 { $count } 处错误；没有启动任何服务
settings-bad-next = 请改正后重试；`{ $program } check` 只检查、不启动，`{ $program } config example` 列出所有设置项。
check-fine = 设置没有问题（没有设置文件，全部为默认值或环境变量）。
check-fine-file = { $path } 中的设置没有问题。
log-filter-bad = { $key } 不是有效的日志级别列表

data-unnamed = 不知道该用户的数据目录在哪里
data-unnamed-next = 请用 --data DIR 指定，或在 [server] 一节中设置 `data`。
data-unusable = 数据目录 { $path } 无法使用
data-unusable-next = 请用 --data DIR 选择另一个目录。
data-locked = 另一个 Safeport 正在使用 { $path }
data-locked-next = 两个服务器不能共用一个数据目录。服务器运行时，`{ $program } user add` 等命令仍可使用。
certificates-failed = 证书无法使用
registry-failed = 用户和设备登记库无法使用
bind-failed = 无法监听 { $address }（{ $key }）
threads-failed = 系统无法提供线程
engine-failed = MQTT 引擎未能启动
signals-failed = 无法接收信号
part-ended = 服务器已停止，因为其中一部分意外结束：{ $name }
part-ended-next = 这是程序缺陷，请附上以上日志报告给我们。

banner-serving = Safeport { $version } 正在运行。
banner-mqtt = MQTT
banner-mqtts = MQTT over TLS
banner-http = MQTT over WebSocket(/mqtt)、/healthz、/metrics
banner-advertised = 告知设备的地址：{ $host }
banner-data = 数据目录：{ $path }
banner-anonymous = 警告：服务器处于开放状态。任何能连到它的人无需密码即可读取和更改一切。
banner-logins = 登录账号：{ $count } 个（没有账号的客户端会被拒绝）
next-open-loopback = 只有本机的程序能连到它。要让设备也能连接，请加上 --bind 0.0.0.0；要保证安全，请去掉 --open。
next-open-everywhere = 它正在您的网络上监听。仅供试用；要保证安全，请去掉 --open。
next-try = 下一步，在其他终端中：查看所有消息、发送一条消息、启动一个模拟插座：
next-first-login = 现在还没有人能登录。下一步，在另一个终端中：
next-device = 添加设备，并得到要粘贴到设备中的一行命令：
next-user = 或者为自己或某个程序添加用户，然后查看所有消息：
next-more = 下一步：添加设备，并得到要粘贴到设备中的一行命令：
next-watch = 或者查看所有消息：

page-lead = 这是一台 Safeport 服务器：为家中的设备提供 MQTT。此页面上没有需要设置的内容。
page-mqtt = MQTT over WebSocket，子协议 mqtt
page-health = 服务器是否正常
page-metrics = 供 Prometheus 使用的数据
page-missing = 这个地址没有内容。MQTT over WebSocket 在 /mqtt，服务器状态在 /healthz，运行数据在 /metrics。
page-speaks-tls = 此端口使用 TLS：请把地址中的 http:// 换成 https://，WebSocket 则把 ws:// 换成 wss://。

confirm-question = 有一项设置更改正在等待确认。能打开此页面，说明新地址可用。要保留这项更改吗？
confirm-button = 保留更改
confirm-by-post = 向此地址发送 POST 即可保留，例如使用 `curl -X POST`。否则更改会被撤销。
confirm-kept = 更改已保留。
confirm-unknown = 没有更改在等待这个链接。它可能已经保留；`{ $program } config history` 可以查看。
confirm-late = 太晚了：更改已被撤销。请重新更改，并及时打开新的链接。
confirm-failed = 无法确认更改。原因见服务器日志。

vantage-expired = 此链接已过期，或者属于另一台服务器。请在获取它的地方重新获取一个。
vantage-here = 这部手机或电脑通过 { $address } 到达了服务器。该地址已从这里得到证明。
vantage-elsewhere = 这部手机或电脑通过 { $address } 到达了服务器，但它不是告知设备的任何一个地址。
vantage-lead = 现在从这里尝试其他地址。切换网络后（例如从 Wi-Fi 换到移动数据），请重新加载此页面。
vantage-no-script = 其他地址由脚本尝试，而此浏览器不运行脚本。
vantage-waiting = 正在尝试……
vantage-not-by-browser = 浏览器不能直接使用 MQTT；只有设备或服务器自己才能尝试这个地址。
vantage-reached = 从这里可用
vantage-foreign = 那里有回应，但不是这台服务器。请检查端口、路由器和代理。
vantage-failed = 从这里无法到达。原因可能是所在的网络、防火墙、错误的端口，或者浏览器未获准访问本地网络。
vantage-untrusted = 从这里无法到达，或者此浏览器不信任它的证书。使用 Safeport 自己的证书时，在这里安装 ca.pem 之前出现这种情况是正常的。
vantage-mixed = 未尝试：此页面通过 https 打开，浏览器不允许这样的页面访问 http 地址。请通过 http 地址打开此页面再试。

name-unknown = 没有 { $name }
name-taken = 名称 { $name } 已被使用
filter-bad = 这不是有效的主题过滤器
password-failed = 密码无法使用
password-unreadable = 无法从标准输入读取密码
password-once = 密码（只显示这一次）：
user-added = 已添加用户 { $name }：{ $rights }
user-removed = 已删除用户 { $name }；其连接正在断开。
user-passwd = 用户 { $name } 有了新密码；使用旧密码的连接正在断开。
user-rights = 用户 { $name } 现在的权限：{ $rights }
user-enabled = 用户 { $name } 可以再次登录。
user-disabled = 用户 { $name } 不能再登录；其连接正在断开。
user-none = 还没有用户。用 `{ $program } user add NAME` 添加。
user-name-bad = { $name } 不能作为用户名：1 到 { $limit } 字节，不含控制字符，首尾没有空格

device-added = 已添加设备 { $name }。
device-passwd = 设备 { $name } 有了新密码；使用旧密码的连接正在断开。
device-forgotten = 已移除设备 { $name }；其连接正在断开。
device-none = 还没有设备。用 `{ $program } device add tasmota --name plug-1` 添加。
device-name-bad = { $name } 不能作为设备名称
device-topic-bad = { $topic } 不能作为设备的主题
device-unknown-next = `{ $program } device list` 列出所有设备。
device-unreadable = 设备 { $name } 的记录无法读取
device-show-next = 密码没有保存。`{ $program } device passwd { $name }` 会设置新密码，并打印要输入到设备中的内容。
listener-off = 没有适合该设备的监听端口
listener-off-next = 请打开 mqtts.enabled；或者去掉 --tls 并打开 mqtt.enabled。
setup-failed = 无法生成 { $name } 的配置内容
setup-tasmota = 把这一行粘贴到设备的控制台（工具 > 控制台）；设备会重启并连接：
setup-espeasy = 在设备页面（Config 以及 Controllers > Add）中填入这些值：
setup-esphome = 把这段内容放进设备的 YAML 并上传：
setup-plain = 在设备中填入这些值：
setup-loopback = 注意：{ $host } 只能从本机连到服务器。要连接真实设备，请让服务器监听网络（mqtt.bind），或用 --host 指定它的地址。

cert-show = 私有 CA 的证书，来自 { $path }：
cert-fingerprint = 用于 Tasmota 的 MqttFingerprint1（包含空格）：

host-unknown = 主机 { $host } 没有地址
seconds-bad = { $given } 不是有效的时间：请给出大于 0 且不超过 86400 的秒数
bench-running = { $scenario }，目标 { $address } …
bench-failed = 无法对 { $address } 执行负载测试
bench-inexact = 有消息丢失、重复、乱序或被改动：这些数据不可引用
bench-stopped = 消息尚未全部发布，服务器就停止了确认
bench-not-kept = 服务器未能保住它已确认的消息

simulate-running = 模拟插座：{ $count } 个，连接到 { $host } 端口 { $port }。按 Ctrl-C 停止。
simulate-failed = 模拟设备无法运行
ca-unreadable = 无法读取 CA 证书 { $path }

import-unreadable = 无法读取 { $path }
import-unreadable-next = 请在该文件所在的机器上，以有权读取它的用户身份导入。
import-not-text = { $path } 不是 UTF-8 文本（第 { $line } 行）
import-not-text-next = 请另存为 UTF-8 后重试。
import-title = 由 `safeport import` 根据 { $files } 生成
import-written = 已将 { $count } 项设置写入 { $path }。
import-exists = { $path } 已存在；没有写入任何内容
import-exists-next = 请用 --out 指定新文件，或先移走该文件。
import-unwritten = 无法写入 { $path }
import-same = 没有损失，Safeport 也是这样做的（{ $count }）：
import-left = 未导入（{ $count }）：
import-all = 其余内容已全部导入。
import-logins = 需要添加的登录（{ $count }）；每条命令会生成新密码并只显示一次：
import-next = 下一步：把设置保存为 safeport.toml；`{ $program } check --config safeport.toml` 可在不启动任何服务的情况下检查。
