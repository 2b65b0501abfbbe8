// Package provisioner gives claims volumes on this node: a directory (or a tmpfs of the claim's size)
// and a `local` PersistentVolume with node affinity, which unlike hostPath honours fsGroup.
//
// It watches and keeps no state: what is to be done follows from the objects, so it may be restarted
// at any time, and doing a step twice does no harm.
package provisioner

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

const (
	// Name is what a StorageClass has to give as its provisioner.
	Name = "iot-backup.test/local"

	provisionedBy = "pv.kubernetes.io/provisioned-by"
	// selectedNode is set by the scheduler once a pod that uses the claim is placed.
	selectedNode = "volume.kubernetes.io/selected-node"
	// retryLimit bounds the wait between two attempts: tests fix a fault and expect a quick recovery.
	retryLimit = time.Second
	startPoll  = 100 * time.Millisecond
)

// task names one object to look at; kind is "claim" or "volume".
type task struct{ kind, namespace, name string }

type provisioner struct {
	client  kubernetes.Interface
	disk    disk
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
}

// Main is the program: it runs until it is told to stop.
func Main() int {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	root := flag.String("root", "", "directory that holds the volumes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, disk{root: *root}); err != nil {
		fmt.Fprintln(os.Stderr, "provisioner:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, kubeconfig string, disk disk) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := waitUntilAllowed(ctx, client); err != nil {
		return err
	}
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[task](50*time.Millisecond, retryLimit))
	defer queue.ShutDown()
	p, factory, err := watch(client, disk, queue)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	fmt.Println("watching claims and volumes")
	go p.work(ctx, queue)
	<-ctx.Done()
	return nil
}

// waitUntilAllowed spares the informers a start before our role exists: they would then back off for
// longer than a cluster takes to start. The role allows all or nothing, so one kind stands for all.
func waitUntilAllowed(ctx context.Context, client kubernetes.Interface) error {
	return wait.PollUntilContextCancel(ctx, startPoll, true, func(ctx context.Context) (bool, error) {
		_, err := client.StorageV1().StorageClasses().List(ctx, meta.ListOptions{Limit: 1})
		return err == nil, nil
	})
}

// watch connects the queue to all events of claims and volumes. A StorageClass that appears after a
// claim asks for it is met by the retries.
func watch(
	client kubernetes.Interface, disk disk, queue workqueue.TypedRateLimitingInterface[task],
) (*provisioner, informers.SharedInformerFactory, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims()
	volumes := factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	add := func(kind string) cache.ResourceEventHandlerFuncs {
		enqueue := func(object any) {
			if o, ok := object.(meta.Object); ok {
				queue.Add(task{kind, o.GetNamespace(), o.GetName()})
			}
		}
		return cache.ResourceEventHandlerFuncs{
			AddFunc:    enqueue,
			UpdateFunc: func(_, updated any) { enqueue(updated) },
		}
	}
	if _, err := claims.Informer().AddEventHandler(add("claim")); err != nil {
		return nil, nil, err
	}
	if _, err := volumes.Informer().AddEventHandler(add("volume")); err != nil {
		return nil, nil, err
	}
	return &provisioner{client, disk, claims.Lister(), volumes.Lister(), classes.Lister()}, factory, nil
}

func (p *provisioner) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[task]) {
	for {
		next, shutdown := queue.Get()
		if shutdown {
			return
		}
		if err := p.handle(ctx, next); err != nil {
			fmt.Fprintf(os.Stderr, "%s %s/%s: %v\n", next.kind, next.namespace, next.name, err)
			queue.AddRateLimited(next)
		} else {
			queue.Forget(next)
		}
		queue.Done(next)
	}
}

func (p *provisioner) handle(ctx context.Context, next task) error {
	var err error
	if next.kind == "claim" {
		err = p.provision(ctx, next.namespace, next.name)
	} else {
		err = p.reclaim(ctx, next.name)
	}
	if errors.IsNotFound(err) { // gone meanwhile
		return nil
	}
	return err
}

func (p *provisioner) provision(ctx context.Context, namespace, name string) error {
	claim, err := p.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return err
	}
	if claim.Spec.VolumeName != "" || claim.Spec.StorageClassName == nil || claim.DeletionTimestamp != nil {
		return nil
	}
	class, err := p.classes.Get(*claim.Spec.StorageClassName)
	if errors.IsNotFound(err) {
		return fmt.Errorf("no StorageClass %q yet", *claim.Spec.StorageClassName)
	}
	if err != nil {
		return err
	}
	node := claim.Annotations[selectedNode]
	if class.Provisioner != Name || node == "" {
		return nil
	}
	volume := volumeFor(claim, class, node, p.disk.root)
	if _, err := p.volumes.Get(volume.Name); err == nil {
		return nil
	}
	if err := p.disk.create(volume.Spec.Local.Path, claim.Spec.Resources.Requests.Storage().Value(), class.Parameters); err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		fmt.Printf("created %s for %s/%s\n", volume.Name, namespace, name)
	}
	return err
}

func (p *provisioner) reclaim(ctx context.Context, name string) error {
	volume, err := p.volumes.Get(name)
	if err != nil {
		return err
	}
	ours := volume.Annotations[provisionedBy] == Name && volume.Spec.Local != nil
	done := volume.Status.Phase == core.VolumeReleased && volume.DeletionTimestamp == nil
	if !ours || !done || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := p.disk.remove(volume.Spec.Local.Path); err != nil {
		return err
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, name, meta.DeleteOptions{})
	if err == nil {
		fmt.Printf("removed %s\n", name)
	}
	return err
}

// volumeFor is the whole PersistentVolume for a claim whose consumer was placed on node.
func volumeFor(claim *core.PersistentVolumeClaim, class *storage.StorageClass, node, root string) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	reclaim := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{provisionedBy: Name},
		},
		Spec: core.PersistentVolumeSpec{
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      core.ResourceList{core.ResourceStorage: *claim.Spec.Resources.Requests.Storage()},
			PersistentVolumeReclaimPolicy: reclaim,
			StorageClassName:              class.Name,
			MountOptions:                  class.MountOptions,
			VolumeMode:                    claim.Spec.VolumeMode,
			ClaimRef: &core.ObjectReference{
				APIVersion:      "v1",
				Kind:            "PersistentVolumeClaim",
				Namespace:       claim.Namespace,
				Name:            claim.Name,
				UID:             claim.UID,
				ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: filepath.Join(root, name)},
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{
					MatchExpressions: []core.NodeSelectorRequirement{{
						Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node},
					}},
				}},
			}},
		},
	}
}
