# Completion of preforkd for fish: what options there are and what they take, the program itself says.

# The words that an option takes, when it takes only certain ones.
function __preforkd_values
    preforkd $argv[1] '?' --test -- true 2>&1 </dev/null |
        string replace -rf '.* is none of ' '' | string split ', '
end

# The words of COMMAND that are typed; fails while the options last.
function __preforkd_command
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        switch $words[1]
            case --
                set -e words[1]
                string join \n -- $words
                return 0
            case '--*=*'
            case '-*'
                contains -- $words[1] $__preforkd_takes
                and set -e words[1]
            case '*'
                string join \n -- $words
                return 0
        end
        set -e words[1]
    end
    return 1
end

function __preforkd_complete_command
    complete -C "$(string join ' ' -- (string escape -- (__preforkd_command))) $(commandline -ct)"
end

complete -c preforkd -e
complete -c preforkd -f
complete -c preforkd -n 'not __preforkd_command >/dev/null' -a '(__fish_complete_command)'
complete -c preforkd -n '__preforkd_command >/dev/null' -a '(__preforkd_complete_command)'

set -g __preforkd_takes
for line in (preforkd --help 2>/dev/null </dev/null)
    string match -rq '^ +(?:-(?<letter>[A-Za-z]), )?--(?<name>[a-z-]+)(?: (?<argument>[A-Z][^ ]*))?(?: +(?<help>.*))?$' -- $line
    or continue
    set -l option -c preforkd -n 'not __preforkd_command >/dev/null' -l $name -d "$help"
    if test -n "$letter"
        set -a option -s $letter
    end
    if test -n "$argument"
        set -a __preforkd_takes --$name -$letter
    end
    switch "$argument"
        case ''
        case FILE
            set -a option -r -F
        case DIR
            set -a option -x -a '(__fish_complete_directories)'
        case USER
            set -a option -x -a '(__fish_complete_users)'
        case GROUP
            set -a option -x -a '(__fish_complete_groups)'
        case 'SIGNAL*'
            set -a option -x -a 'HUP INT QUIT KILL USR1 USR2 TERM WINCH'
        case COMMAND
            set -a option -x -a '(__fish_complete_command)'
        case '*'
            set -a option -x -a "(__preforkd_values --$name)"
    end
    complete $option
end
