#!/bin/sh
# What a small script of operators does: it looks around, and says something in JSON.
set -eu

load=$(cut -d ' ' -f 1 /proc/loadavg)
kernel=$(uname -r)
host=$(hostname)

free=0
while read -r name value unit; do
  case $name in
    MemAvailable:) free=$value ;;
  esac
done < /proc/meminfo

count=0
for file in /etc/*.conf; do
  [ -f "$file" ] && count=$((count + 1))
done
printf '{"host": "%s", "kernel": "%s", "load": %s, "free": %s, "files": %s}\n' \
  "$host" "$kernel" "$load" "$free" "$count"
