// Everything that lies in the directory of a control plane.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// longestSocketPath is what every Unix accepts.
const longestSocketPath = 103

// files are the absolute paths of what `start` writes, or has its children write.
type files struct {
	dir                         string
	etcdData, etcdSocket        string
	ca                          string
	servingCert, servingKey     string
	serviceAccountKey           string
	kubeletClientCert           string
	kubeletClientKey            string
	kubeconfig                  string
	nodeKubeconfig              string
	controllerManagerKubeconfig string
	auditPolicy, auditLog       string
}

func filesIn(dir string) files {
	in := func(name string) string { return filepath.Join(dir, name) }
	return files{
		dir:                         dir,
		etcdData:                    in("etcd"),
		etcdSocket:                  in("etcd.sock"),
		ca:                          in("ca.crt"),
		servingCert:                 in("serving.crt"),
		servingKey:                  in("serving.key"),
		serviceAccountKey:           in("service-account.key"),
		kubeletClientCert:           in("kubelet-client.crt"),
		kubeletClientKey:            in("kubelet-client.key"),
		kubeconfig:                  in("kubeconfig"),
		nodeKubeconfig:              in("node.kubeconfig"),
		controllerManagerKubeconfig: in("controller-manager.kubeconfig"),
		auditPolicy:                 in("audit-policy.yaml"),
		auditLog:                    in("audit.log"),
	}
}

// auditPolicy gives every request one line in the audit log. A watch has it
// when it starts, any other request when it is answered. (ResponseStarted is
// otherwise only sent for a refused login, which has no other stage.)
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
# What the API server asks of itself.
- level: None
  users: ["system:apiserver"]
- level: Metadata
  verbs: [watch]
  omitStages: [ResponseComplete]
- level: Metadata
  resources:
  - group: ""
    resources: [pods/attach, pods/exec, pods/log, pods/portforward, pods/proxy, services/proxy, nodes/proxy]
  omitStages: [ResponseComplete]
- level: Metadata
`

// writeFiles writes all that has to be there before the first child starts.
func writeFiles(f files, place place) error {
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	serving, err := authority.servingPair("127.0.0.1", place.advertise, serviceAddress)
	if err != nil {
		return err
	}
	kubeletClient, err := authority.clientPair("kube-apiserver-kubelet-client")
	if err != nil {
		return err
	}
	serviceAccountKey, err := newKeyPEM()
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		f.ca:                authority.certPEM,
		f.servingCert:       serving.cert,
		f.servingKey:        serving.key,
		f.serviceAccountKey: serviceAccountKey,
		f.kubeletClientCert: kubeletClient.cert,
		f.kubeletClientKey:  kubeletClient.key,
		f.auditPolicy:       []byte(auditPolicy),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	for _, config := range []struct {
		path, user string
		port       int
	}{
		{f.kubeconfig, "admin", place.outside},
		{f.controllerManagerKubeconfig, "system:kube-controller-manager", place.port},
		{f.nodeKubeconfig, "system:node:" + nodeName, place.port},
	} {
		client, err := authority.clientPair(config.user)
		if err != nil {
			return err
		}
		if err := writeKubeconfig(config.path, server(config.port), authority.certPEM, config.user, client); err != nil {
			return err
		}
	}
	return nil
}

// server is the URL of an API server that listens on loopback.
func server(port int) string {
	return fmt.Sprintf("https://127.0.0.1:%d", port)
}

func writeKubeconfig(path, server string, ca []byte, user string, client pair) error {
	const name = "control-plane"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: client.cert, ClientKeyData: client.key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: user}
	config.CurrentContext = name
	return clientcmd.WriteToFile(*config, path)
}
