complete -c shuntd -l config -d 'The configuration, see shuntd.toml(5). SIGHUP reads it again' -r -F
complete -c shuntd -l check -d 'Check the configuration and exit; touches no NIC and no hugepage'
complete -c shuntd -s h -l help -d 'Print help'
complete -c shuntd -s V -l version -d 'Print version'
