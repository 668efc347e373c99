// Package conformance runs the Gateway API's conformance suite for meshes with every feature that any of its mesh tests
// requires, so that no test is skipped because its feature was not claimed.
package conformance

import (
	"slices"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests/mesh"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

func TestMesh(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.ConformanceProfiles = []suite.ConformanceProfileName{
		suite.MeshHTTPConformanceProfileName,
		suite.MeshGRPCConformanceProfileName,
	}
	for _, test := range meshtests.MeshConformanceTests {
		for _, feature := range test.Features {
			if !slices.Contains(options.SupportedFeatures, feature) {
				options.SupportedFeatures = append(options.SupportedFeatures, feature)
			}
		}
	}
	if slices.Contains(options.SupportedFeatures, features.SupportGateway) {
		t.Fatal("a mesh test asks for an ingress gateway")
	}
	conformance.RunConformanceWithOptions(t, options)
}
