# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion for onboardctl: verbs, words and options are what the program itself says.
_onboardctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb='' i
	COMPREPLY=()
	case $before in
	--config | --dir | --plan | --apply | --raw | --html)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--set)
		mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --print-config 2>/dev/null |
			awk '/^\[/ { s = substr($1, 2, length($1) - 2) } / = / { print s "." $1 "=" }')" -- "$word")
		compopt -o nospace
		return
		;;
	esac
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--config | --set) i=$((i + 1)) ;;
		-*) ;;
		*) verb=${COMP_WORDS[i]}; break ;;
		esac
	done
	if [ -n "$verb" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --describe words "$verb" 2>/dev/null)" -- "$word")
		[ ${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --describe words 2>/dev/null)
			--config --set --json --print-config --help --version" -- "$word")
	fi
}
complete -o filenames -F _onboardctl onboardctl
