//! The running world: rapier3d at 240 Hz, an articulated arm with motors, free objects.
//!
//! A pure function of (scene, actions): rapier is built with `enhanced-determinism`, nothing reads a clock
//! or a random number.

use super::arm::{self, JAW_RAD_PER_UNIT, JOINT_SPEED, JOINT_TORQUE, JOINTS, Solid};
use super::camera::{Camera, Picture, Renderer};
use super::math::{DEG, Pose, V3, v3};
use super::scene::{BowlSpec, SceneSpec, Shape, tee_boxes};
use super::task::Judgement;
use super::{MAX_OBJECTS, WorldError};
use crate::Frame;
use rapier3d::math::{Pose as RPose, Rotation, Vector};
use rapier3d::prelude::*;

/// Physics steps per second.
pub const PHYSICS_HZ: u32 = 240;

// Below this speed (m/s, and rad/s times 3 cm) an object rests.
const REST_SPEED: f32 = 0.01;

// Natural frequency of the position servos, rad/s, critically damped.
const SERVO_RATE: f32 = 90.0;

/// Labels of one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Poses of the objects; absent ones are the default pose of zeros.
    pub objects: [Pose; MAX_OBJECTS],
    /// Which of the objects exist.
    pub present: [bool; MAX_OBJECTS],
    /// Pose of the gripper: fingertip, x along the hand, y the opening direction.
    pub gripper: Pose,
    /// The gripper touches an object.
    pub contact: bool,
    /// Progress and success of the task.
    pub judgement: Judgement,
}

/// A running episode.
pub struct World {
    spec: SceneSpec,
    camera: Camera,
    physics: PhysicsWorld,
    links: Vec<RigidBodyHandle>,
    multibody: MultibodyJointHandle,
    objects: Vec<RigidBodyHandle>,
    fingers: Vec<ColliderHandle>,
    set_point: [f32; JOINTS],
    renderer: Option<Renderer>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World(seed {}, {} objects)", self.spec.seed, self.objects.len())
    }
}

fn vector(v: V3) -> Vector {
    Vector::new(v.x, v.y, v.z)
}

fn rpose(p: &Pose) -> RPose {
    let m = p.matrix().quat();
    RPose::from_parts(vector(p.position), Rotation::from_xyzw(m[0], m[1], m[2], m[3]))
}

/// rapier's cylinders and capsules stand along y, ours along z.
fn y_to_z() -> RPose {
    let h = std::f32::consts::FRAC_1_SQRT_2;
    RPose::from_parts(Vector::ZERO, Rotation::from_xyzw(h, 0.0, 0.0, h))
}

/// A channel's value in the joint's own unit (radians).
fn to_radians(joint: usize, value: f32) -> f32 {
    if joint == 5 { value * JAW_RAD_PER_UNIT } else { value * DEG }
}

fn from_radians(joint: usize, value: f32) -> f32 {
    if joint == 5 { value / JAW_RAD_PER_UNIT } else { value / DEG }
}

const SCENERY: Group = Group::GROUP_1;
const ARM: Group = Group::GROUP_2;
const OBJECT: Group = Group::GROUP_3;

fn groups(is: Group, hits: Group) -> InteractionGroups {
    InteractionGroups::new(is, hits, InteractionTestMode::And)
}

impl World {
    /// Builds the scene, arm at its start joints, objects at their start poses.
    ///
    /// # Errors
    /// [`WorldError::BadScene`] when the specification cannot be built.
    pub fn new(spec: &SceneSpec) -> Result<Self, WorldError> {
        spec.check()?;
        let mut physics = PhysicsWorld::new();
        physics.gravity = Vector::new(0.0, 0.0, -9.81);
        let p = &mut physics.integration_parameters;
        p.dt = 1.0 / PHYSICS_HZ as f32;
        // The world's things are centimetres, not metres, in size.
        p.length_unit = 0.05;
        // One friction constraint per contact point: the simplified model lets flat things slide without turning.
        p.friction_model = FrictionModel::Coulomb;

        let table = ColliderBuilder::cuboid(2.0, 2.0, 0.05)
            .translation(Vector::new(0.0, 0.0, -0.05))
            .friction(spec.table.friction)
            .collision_groups(groups(SCENERY, Group::ALL))
            .build();
        physics.colliders.insert(table);
        if let Some(bowl) = &spec.bowl {
            insert_bowl(&mut physics, bowl);
        }
        let objects = spec.objects.iter().map(|o| insert_object(&mut physics, o)).collect();
        let start = spec.start_joints();
        let (links, fingers, multibody) = insert_arm(&mut physics, &start)
            .ok_or_else(|| WorldError::BadScene("the physics engine refused the arm's joints".into()))?;
        let mut world = Self {
            camera: Camera::new(&spec.camera),
            spec: spec.clone(),
            physics,
            links,
            multibody,
            objects,
            fingers,
            set_point: start,
            renderer: None,
        };
        // Objects settle by some micrometres onto the table before the first frame.
        for _ in 0..24 {
            world.substep(&start, 1.0);
        }
        Ok(world)
    }

    /// The scene it was built from.
    pub fn spec(&self) -> &SceneSpec {
        &self.spec
    }

    /// The camera.
    pub fn camera(&self) -> &Camera {
        &self.camera
    }

    /// Moves the world by one frame: the joints run to `action` (absolute: degrees, gripper 0..100) as far as
    /// limits of range, speed and torque allow. A value that is not a number holds its joint.
    pub fn step(&mut self, action: &[f32; JOINTS]) {
        let target = arm::clamp_joints(action, &self.set_point);
        let n = (PHYSICS_HZ / self.spec.fps).max(1);
        for k in 0..n {
            self.substep(&target, 1.0 / (n - k) as f32);
        }
    }

    /// Moves the world by `substeps` steps of physics (240 a second): for a robot that runs in real time, whose goals come
    /// more often than frames. A value that is not a number holds its joint.
    pub fn advance(&mut self, goal: &[f32; JOINTS], substeps: u32) {
        let target = arm::clamp_joints(goal, &self.set_point);
        for k in 0..substeps {
            self.substep(&target, 1.0 / (substeps - k) as f32);
        }
    }

    /// One physics step; the set point goes `share` of its way to the target.
    fn substep(&mut self, target: &[f32; JOINTS], share: f32) {
        let dt = 1.0 / PHYSICS_HZ as f32;
        let mut motors = [(0.0f32, 0.0f32); JOINTS];
        for (j, motor) in motors.iter_mut().enumerate() {
            let most = JOINT_SPEED[j] * dt;
            let step = ((target[j] - self.set_point[j]) * share).clamp(-most, most);
            self.set_point[j] += step;
            *motor = (to_radians(j, self.set_point[j]), to_radians(j, step) / dt);
        }
        if let Some((multibody, _)) = self.physics.multibody_joints.get_mut(self.multibody) {
            for (j, (position, velocity)) in motors.iter().enumerate() {
                if let Some(link) = multibody.link_mut(j + 1) {
                    link.joint.data.set_motor(
                        JointAxis::AngX,
                        *position,
                        *velocity,
                        SERVO_RATE * SERVO_RATE,
                        2.0 * SERVO_RATE,
                    );
                }
            }
        }
        self.physics.step();
    }

    /// Joint values now: degrees, gripper 0..100.
    pub fn state(&self) -> [f32; JOINTS] {
        let mut q = self.set_point;
        if let Some((multibody, _)) = self.physics.multibody_joints.get(self.multibody) {
            for (j, v) in q.iter_mut().enumerate() {
                if let Some(link) = multibody.link(j + 1) {
                    *v = from_radians(j, link.joint.coords()[3]);
                }
            }
        }
        q
    }

    /// Poses of the objects, in the scene's order.
    pub fn poses(&self) -> Vec<Pose> {
        self.objects.iter().map(|&h| self.pose_of(h)).collect()
    }

    fn pose_of(&self, handle: RigidBodyHandle) -> Pose {
        let Some(body) = self.physics.bodies.get(handle) else { return Pose::default() };
        let (t, r) = (body.translation(), body.rotation());
        let q = [r.x, r.y, r.z, r.w];
        let sign = if r.w < 0.0 { -1.0 } else { 1.0 };
        Pose { position: v3(t.x, t.y, t.z), rotation: q.map(|v| v * sign) }
    }

    /// Pose of one link of the arm as physics has it (base = 0); the camera draws [`arm::forward`] of the
    /// state, which is the same place.
    pub fn link_pose(&self, link: usize) -> Option<Pose> {
        self.links.get(link).map(|&h| self.pose_of(h))
    }

    /// Whether object `i` moves slower than 1 cm/s.
    pub fn resting(&self, i: usize) -> bool {
        let Some(body) = self.objects.get(i).and_then(|&h| self.physics.bodies.get(h)) else { return true };
        let (v, w) = (body.linvel(), body.angvel());
        let speed = v3(v.x, v.y, v.z).len();
        let spin = v3(w.x, w.y, w.z).len() * 0.03;
        speed < REST_SPEED && spin < REST_SPEED
    }

    /// Whether the fingers or the palm touch object `i`.
    pub fn touching(&self, i: usize) -> bool {
        let Some(body) = self.objects.get(i).and_then(|&h| self.physics.bodies.get(h)) else { return false };
        body.colliders().iter().any(|&c| {
            self.physics.narrow_phase.contact_pairs_with(c).any(|pair| {
                pair.has_any_active_contact()
                    && (self.fingers.contains(&pair.collider1) || self.fingers.contains(&pair.collider2))
            })
        })
    }

    /// The frame's labels.
    pub fn labels(&self) -> Labels {
        let poses = self.poses();
        let mut objects = [Pose { position: V3::ZERO, rotation: [0.0; 4] }; MAX_OBJECTS];
        let mut present = [false; MAX_OBJECTS];
        for (i, p) in poses.iter().take(MAX_OBJECTS).enumerate() {
            objects[i] = *p;
            present[i] = true;
        }
        let touched = |i: usize| self.touching(i);
        let task = &self.spec.task;
        Labels {
            objects,
            present,
            gripper: arm::gripper(&self.state()).pose(),
            contact: (0..self.objects.len()).any(touched),
            judgement: task.judge(&self.spec, &poses, self.resting(task.object), touched(task.object)),
        }
    }

    /// Progress and success of the task now.
    pub fn judgement(&self) -> Judgement {
        let i = self.spec.task.object;
        self.spec.task.judge(&self.spec, &self.poses(), self.resting(i), self.touching(i))
    }

    /// The picture now, `width` x `height` (each clamped to 16..=1024).
    pub fn render(&mut self, width: usize, height: usize) -> Frame {
        self.picture(Picture::Rgb, width, height)
    }

    /// The same as another kind of picture.
    pub fn picture(&mut self, picture: Picture, width: usize, height: usize) -> Frame {
        let size = Renderer::clamp_size(width, height);
        let mut renderer = match self.renderer.take() {
            Some(r) if r.size() == size => r,
            _ => Renderer::new(&self.spec, size.0, size.1),
        };
        let frame = renderer.picture(picture, &self.state(), &self.poses());
        self.renderer = Some(renderer);
        frame
    }
}

fn insert_bowl(physics: &mut PhysicsWorld, bowl: &BowlSpec) {
    const SIDES: usize = 16;
    let (cx, cy) = (bowl.center[0], bowl.center[1]);
    let mid = bowl.radius - bowl.wall * 0.5;
    let half = mid * libm::tanf(std::f32::consts::PI / SIDES as f32) * 1.05;
    for k in 0..SIDES {
        let a = k as f32 * 2.0 * std::f32::consts::PI / SIDES as f32;
        let at = Pose::upright(v3(cx + mid * libm::cosf(a), cy + mid * libm::sinf(a), bowl.height * 0.5), a);
        let wall = ColliderBuilder::cuboid(bowl.wall * 0.5, half, bowl.height * 0.5)
            .position(rpose(&at))
            .friction(0.5)
            .collision_groups(groups(SCENERY, Group::ALL))
            .build();
        physics.colliders.insert(wall);
    }
    for (half, angle) in prism(bowl.radius, bowl.wall * 0.5, 4) {
        let at = Pose::upright(v3(cx, cy, bowl.wall * 0.5), angle);
        let floor = ColliderBuilder::cuboid(half.x, half.y, half.z)
            .position(rpose(&at))
            .friction(0.5)
            .collision_groups(groups(SCENERY, Group::ALL))
            .build();
        physics.colliders.insert(floor);
    }
}

fn insert_object(physics: &mut PhysicsWorld, object: &super::scene::ObjectSpec) -> RigidBodyHandle {
    let body = RigidBodyBuilder::dynamic()
        .pose(rpose(&object.pose))
        .linear_damping(0.3)
        .angular_damping(2.0)
        .can_sleep(false)
        .build();
    let handle = physics.bodies.insert(body);
    let shapes: Vec<ColliderBuilder> = match object.shape {
        Shape::Cube { half } => vec![ColliderBuilder::cuboid(half, half, half)],
        Shape::Cylinder { radius, half_height } => prism(radius, half_height, 6)
            .map(|(h, a)| ColliderBuilder::cuboid(h.x, h.y, h.z).position(rpose(&Pose::upright(V3::ZERO, a))))
            .collect(),
        Shape::Tee { half_width, half_height } => tee_boxes(half_width, half_height)
            .iter()
            .map(|(c, h)| ColliderBuilder::cuboid(h.x, h.y, h.z).translation(vector(*c)))
            .collect(),
    };
    let volume: f32 = shapes.iter().map(|s| s.shape.mass_properties(1.0).mass()).sum();
    for shape in shapes {
        let collider = shape
            .density(object.mass / volume.max(1e-9))
            .friction(object.friction)
            .collision_groups(groups(OBJECT, Group::ALL))
            .build();
        physics.colliders.insert_with_parent(collider, handle, &mut physics.bodies);
    }
    handle
}

/// A standing cylinder as a regular prism of `2 * boxes` sides, made of boxes through its axis: half extents,
/// with the angle about z of each. A true cylinder that lies on its side rolls for ever in rapier, and a convex
/// hull touches with four corners of its cap only; boxes rest firmly on cap and side.
fn prism(radius: f32, half_height: f32, boxes: usize) -> impl Iterator<Item = (V3, f32)> {
    let step = std::f32::consts::PI / boxes as f32;
    // Between the inner and the outer circle, so that the prism is as wide as the cylinder on average.
    let r = radius * (1.0 + 0.25 * step * step * 0.25);
    let half = v3(r * libm::cosf(step * 0.5), r * libm::sinf(step * 0.5), half_height);
    (0..boxes).map(move |k| (half, k as f32 * step))
}

type ArmHandles = (Vec<RigidBodyHandle>, Vec<ColliderHandle>, MultibodyJointHandle);

/// Mass of each moving link (kg), its centre and half extents for the inertia: an SO-101's servos and prints.
const LINK_BODY: [(f32, V3, V3); 6] = [
    (0.15, v3(0.006, 0.0, 0.09), v3(0.03, 0.03, 0.04)),
    (0.12, v3(0.0, 0.0, 0.06), v3(0.02, 0.02, 0.06)),
    (0.11, v3(0.07, 0.0, 0.0), v3(0.06, 0.02, 0.02)),
    (0.08, v3(0.03, 0.0, 0.0), v3(0.02, 0.02, 0.02)),
    (0.08, v3(0.04, 0.0, 0.0), v3(0.05, 0.02, 0.02)),
    (0.03, v3(0.04, 0.0, 0.0), v3(0.045, 0.01, 0.012)),
];

/// The rotor's inertia seen through the gears (kg m2), per joint.
const ARMATURE: [f32; JOINTS] = [0.02, 0.02, 0.015, 0.006, 0.003, 0.001];

fn insert_arm(physics: &mut PhysicsWorld, start: &[f32; JOINTS]) -> Option<ArmHandles> {
    let frames = arm::forward(start);
    let mut links = vec![physics.bodies.insert(RigidBodyBuilder::fixed().build())];
    for (i, (mass, center, half)) in LINK_BODY.iter().enumerate() {
        let third = mass / 3.0;
        let inertia = v3(
            third * (half.y * half.y + half.z * half.z),
            third * (half.x * half.x + half.z * half.z),
            third * (half.x * half.x + half.y * half.y),
        );
        let body = RigidBodyBuilder::dynamic()
            .pose(rpose(&frames[i + 1].pose()))
            .additional_mass_properties(MassProperties::new(vector(*center), *mass, vector(inertia)))
            // The servos carry the arm's own weight without sagging.
            .gravity_scale(0.0)
            .can_sleep(false)
            .build();
        links.push(physics.bodies.insert(body));
    }
    let mut fingers = Vec::new();
    for part in arm::parts().iter().filter(|p| p.collides) {
        let at = rpose(&part.at.pose());
        let builder = match part.solid {
            Solid::Box(h) => ColliderBuilder::cuboid(h.x, h.y, h.z).position(at),
            Solid::Cylinder(r, h) => ColliderBuilder::cylinder(h, r).position(at * y_to_z()),
            Solid::Capsule(r, h) => ColliderBuilder::capsule_z(h, r).position(at),
        };
        // The arm does not collide with itself, nor does the fixed base with the table.
        let hits = if part.link == 0 { OBJECT } else { SCENERY | OBJECT };
        let collider = builder
            .density(0.0)
            .friction(if part.link >= 5 { 1.1 } else { 0.4 })
            .collision_groups(groups(ARM, hits))
            .build();
        let parent = *links.get(part.link)?;
        let handle = physics.colliders.insert_with_parent(collider, parent, &mut physics.bodies);
        if part.link >= 5 {
            fingers.push(handle);
        }
    }
    let (y, z, x) = (Vector::Y, Vector::Z, Vector::X);
    let anchors = [
        (z, V3::ZERO),
        (y, arm::SHOULDER),
        (y, v3(0.0, 0.0, arm::UPPER)),
        (y, v3(arm::FORE, 0.0, 0.0)),
        (x, v3(arm::WRIST, 0.0, 0.0)),
        (z, arm::JAW_PIVOT),
    ];
    let mut last = None;
    for (j, (axis, anchor)) in anchors.iter().enumerate() {
        let limits = arm::JOINT_LIMITS[j].map(|v| to_radians(j, v));
        let joint = RevoluteJointBuilder::new(*axis)
            .local_anchor1(vector(*anchor))
            .contacts_enabled(false)
            .limits(limits)
            .motor_model(MotorModel::AccelerationBased)
            .motor(to_radians(j, start[j]), 0.0, SERVO_RATE * SERVO_RATE, 2.0 * SERVO_RATE)
            .motor_max_force(JOINT_TORQUE[j]);
        last = physics.multibody_joints.insert(*links.get(j)?, *links.get(j + 1)?, joint, true);
        last?;
    }
    let handle = last?;
    let (multibody, _) = physics.multibody_joints.get_mut(handle)?;
    multibody.set_self_contacts_enabled(false);
    // The first pass learns that the root is fixed, which gives the joints their places in the vectors below.
    multibody.forward_kinematics(&physics.bodies, true);
    let mut at = [0.0f32; JOINTS];
    for (j, v) in at.iter_mut().enumerate() {
        *v = to_radians(j, start[j]);
    }
    multibody.apply_displacements(&at);
    for (j, (m, d)) in ARMATURE.iter().zip([0.05f32, 0.05, 0.04, 0.02, 0.01, 0.004]).enumerate() {
        if let Some(v) = multibody.armature_mut().get_mut(j) {
            *v = *m;
        }
        if let Some(v) = multibody.damping_mut().get_mut(j) {
            *v = d;
        }
    }
    multibody.forward_kinematics(&physics.bodies, false);
    multibody.update_rigid_bodies(&mut physics.bodies, true);
    Some((links, fingers, handle))
}
