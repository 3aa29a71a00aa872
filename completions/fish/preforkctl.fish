# Completion of preforkctl for fish.

# "POOL SLOT" for each slot of the master that the line so far names; nothing without one.
function __preforkctl_slots
    set -l socket
    set -l words (commandline -opc)
    if set -l at (contains -i -- -s $words; or contains -i -- --socket $words)
        set socket -s $words[(math $at + 1)]
    end
    timeout 2 $words[1] $socket status </dev/null 2>/dev/null | awk '
        table && $1 ~ /^[A-Za-z0-9_-]+$/ && $2 ~ /^[0-9]+$/ { print $1, $2 }
        $1 == "POOL" && $2 == "SLOT" { table = 1 }'
end

function __preforkctl_pools
    __preforkctl_slots | string replace -r ' .*' '' | sort -u
end

function __preforkctl_pools_and_slots
    __preforkctl_pools
    __preforkctl_slots | string replace ' ' .
end

set -l commands status reload scale restart upgrade stop top

complete -c preforkctl -f
complete -c preforkctl -s s -l socket -r -F -d 'Control socket'
complete -c preforkctl -l json -d 'Print what the master answers'
complete -c preforkctl -s h -l help -d 'Print help and exit'
complete -c preforkctl -s V -l version -d 'Print the version and exit'

complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a status -d 'Show pools, slots and the last reload'
complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a reload -d 'Read the settings again, replace all workers'
complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a scale -d 'Set, raise or lower the number of workers'
complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a restart -d 'Replace the workers of a pool, or one'
complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a upgrade -d 'Replace the master\'s own program'
complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a stop -d 'Stop gracefully'
complete -c preforkctl -n "not __fish_seen_subcommand_from $commands" -a top -d 'Keep the status on the screen'

complete -c preforkctl -n '__fish_seen_subcommand_from status' -l watch -d 'Again each second'
complete -c preforkctl -n '__fish_seen_subcommand_from reload' -l no-wait -d 'Do not wait for its end'
complete -c preforkctl -n '__fish_seen_subcommand_from scale' -a '(__preforkctl_pools)'
complete -c preforkctl -n '__fish_seen_subcommand_from restart' -a '(__preforkctl_pools_and_slots)'
