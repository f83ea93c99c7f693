# Starts and stops the demo's daemon. The demo puts $netns, $config, $log and $daemon above.

pids() {
    for pid in $(ip netns pids "$netns"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = sekishod ] && echo "$pid"
    done
}

stop() {
    for pid in $(pids); do
        kill "-$1" "$pid"
    done
    while [ -n "$(pids)" ]; do
        sleep 0.1
    done
}

start() {
    [ -z "$(pids)" ] || { echo "it runs already" >&2; exit 1; }
    ip netns exec "$netns" setsid "$daemon" --config "$config" >>"$log" 2>&1 </dev/null &
    for _ in $(seq 100); do
        sekisho show version 2>/dev/null && exit 0
        sleep 0.1
    done
    tail "$log" >&2
    exit 1
}

case ${1:-} in
    start) start ;;
    stop) stop TERM ;;
    kill) stop KILL ;;
    restart)
        stop TERM
        start
        ;;
    log) exec "${PAGER:-less}" "$log" ;;
    config) exec "${EDITOR:-vi}" "$config" ;;
    *)
        echo "usage: gateway start|stop|kill|restart|log|config" >&2
        exit 2
        ;;
esac
