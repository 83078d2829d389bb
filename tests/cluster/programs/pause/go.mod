module smalt.dev/cluster/pause

go 1.24
