#!/bin/sh
# prepare.sh SECRETS CONFIG TO: gives each container its own copies of what it may read, as files of its user, mode 0400.
# What a deployment does not have (a search engine, TLS) is left out.
set -eu
secrets=$1 config=$2 to=$3
broker=${BROKER_USER:-999} search=${SEARCH_USER:-1000} panorama=${PANORAMA_USER:-10001}

give() { # give USER FROM TARGET
  [ -e "$2" ] || return 0
  install -D -o "$1" -g "$1" -m 0400 "$2" "$to/$3.new"
  mv -f "$to/$3.new" "$to/$3"
}

give "$broker" "$config/rabbitmq.conf" broker/rabbitmq.conf
give "$broker" "$secrets/broker-definitions.json" broker/definitions.json
give "$broker" "$secrets/tls-ca.pem" broker/ca.pem
give "$broker" "$secrets/broker.pem" broker/broker.pem
give "$broker" "$secrets/broker.key" broker/broker.key

give "$panorama" "$secrets/collector-netrc" collector/netrc
give "$panorama" "$secrets/collector-token" collector/token
give "$panorama" "$secrets/collector-https.pem" collector/https.pem
give "$panorama" "$secrets/tls-ca.pem" collector/ca.pem
give "$panorama" "$secrets/dashboard-token" dashboard/token
for each in collector dashboard; do
  give "$panorama" "$secrets/search-netrc" "$each/search-netrc"
  give "$panorama" "$secrets/ca.pem" "$each/ca.pem"
done

[ -d "$to/search" ] || exit 0
give "$search" "$config/opensearch.yml" search/opensearch.yml
give "$search" "$secrets/search-netrc" search/netrc
give "$search" "$secrets/ca.pem" search/ca.pem
give "$search" "$secrets/search.pem" search/search.pem
give "$search" "$secrets/search.key" search/search.key
give "$search" "$secrets/search-internal-users.yml" search/opensearch-security/internal_users.yml
for each in config roles roles_mapping; do
  give "$search" "$config/opensearch-security/$each.yml" "search/opensearch-security/$each.yml"
done
# the folder of the last ones was made above by root, with the rights that it began with
[ ! -d "$to/search/opensearch-security" ] || chmod 0755 "$to/search/opensearch-security"
